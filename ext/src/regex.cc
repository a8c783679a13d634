// RE2 behind a C face. Bytes are Latin-1, so that any byte of a request is one character; matching is linear in the text.
#include "fgw/regex.h"

#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "image_read.h"

namespace {

constexpr int64_t kMaxMemBytes = 4 << 20; // of one pattern; a program of kMaxProgramSize fits
constexpr int64_t kSetMemBytes = 1 << 20; // of one set, and for each of its members on top
constexpr int64_t kSetMemberMemBytes = 16 << 10;
constexpr int kMaxProgramSize = 32768; // Istio's re2.max_program_size.error_level
constexpr int kMaxPrefixBytes = 128;
constexpr uint64_t kImagesKept = 16; // a regex that none of so many images has used is not kept for the next one

RE2::Options options_for(bool ignore_case) {
    RE2::Options options(RE2::Latin1);
    options.set_log_errors(false);
    options.set_max_mem(kMaxMemBytes);
    options.set_case_sensitive(!ignore_case);
    return options;
}

void say(char *message, size_t cap, const std::string &text) {
    if (cap > 0)
        std::snprintf(message, cap, "%s", text.c_str());
}

// The smallest string above every string that begins with `prefix`; "" when there is none.
std::string successor(std::string prefix) {
    while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff)
        prefix.pop_back();
    if (!prefix.empty())
        prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
    return prefix;
}

// Every match lies in [min, max]. What both begin with, every match begins with. And when max is the successor of a beginning of
// min, then only max itself lies in the range without that beginning: ask whether it matches.
std::string literal_prefix(const RE2 &re) {
    std::string min, max;
    if (!re.PossibleMatchRange(&min, &max, kMaxPrefixBytes))
        return "";
    for (size_t n = min.size(); n > 0; n--)
        if (successor(min.substr(0, n)) == max)
            return RE2::FullMatch(max, re) ? min.substr(0, n - 1) : min.substr(0, n);
    size_t same = 0;
    while (same < std::min(min.size(), max.size()) && min[same] == max[same])
        same++;
    return min.substr(0, same);
}

// A regex set, and what its last match found.
struct Set {
    std::unique_ptr<RE2::Set> compiled; // none: too large for its memory
    std::vector<int> found;
    std::vector<uint32_t> hits;
};

bool usable(const RE2 &re) { return re.ok() && re.ProgramSize() <= kMaxProgramSize; }

re2::StringPiece pattern_of(const void *image, const fgw_img_regex &r) {
    return re2::StringPiece(fgw_strings_of(image) + r.pattern.off, r.pattern.len);
}

// What identifies a regex.
std::string source_of(const void *image, const fgw_img_regex &r) {
    return (r.flags & 1 ? "(?i)" : "") + pattern_of(image, r).as_string();
}

std::vector<std::string> sources_of(const void *image, const fgw_img_regex_set &members) {
    std::vector<std::string> sources;
    const uint32_t *rules = FGW_TABLE(image, candidates, uint32_t) + members.members.off;
    for (uint32_t i = 0; i < members.members.count; i++) {
        const fgw_img_rule &rule = FGW_TABLE(image, rules, fgw_img_rule)[rules[i]];
        uint32_t predicate;
        sources.push_back(
            source_of(image, FGW_TABLE(image, regexes, fgw_img_regex)[fgw_set_regex(image, &members, &rule, &predicate)]));
    }
    return sources;
}

// What identifies a set: its members in order, each with its length.
std::string key_of(const std::vector<std::string> &sources) {
    std::string key;
    for (const std::string &source : sources)
        key += std::to_string(source.size()) + ":" + source;
    return key;
}

// One automaton for all members. The writer of the image puts only regexes that compile into a set.
std::shared_ptr<Set> compile_set(const std::vector<std::string> &sources) {
    auto set = std::make_shared<Set>();
    RE2::Options options = options_for(false);
    options.set_max_mem(kSetMemBytes + kSetMemberMemBytes * static_cast<int64_t>(sources.size()));
    auto compiled = std::make_unique<RE2::Set>(options, RE2::ANCHOR_BOTH);
    for (size_t i = 0; i < sources.size(); i++)
        if (compiled->Add(sources[i], nullptr) != static_cast<int>(i))
            return set;
    if (compiled->Compile())
        set->compiled = std::move(compiled);
    return set;
}

// What was compiled for one image and is good for the next ones: of thousands of regexes a change touches few. Things that no
// image holds any more are dropped when kImagesKept images have come without a use of them.
template <typename Thing> class Shelf {
  public:
    template <typename Make> std::shared_ptr<Thing> get(const std::string &key, uint64_t image, Make make) {
        Place &place = places_[key];
        if (place.thing == nullptr) {
            place.thing = make();
            made_++;
        }
        place.used_by = image;
        return place.thing;
    }

    void drop_unused(uint64_t image) {
        for (auto i = places_.begin(); i != places_.end();)
            i = i->second.thing.use_count() <= 1 && i->second.used_by + kImagesKept < image ? places_.erase(i) : std::next(i);
    }

    uint64_t made() const { return made_; }

  private:
    struct Place {
        std::shared_ptr<Thing> thing;
        uint64_t used_by = 0;
    };
    std::unordered_map<std::string, Place> places_;
    uint64_t made_ = 0;
};

struct Library {
    uint64_t images = 0;
    Shelf<RE2> regexes;
    Shelf<Set> sets;
};

} // namespace

struct fgw_regexes {
    const void *image;
    uint64_t number; // of the image
    std::shared_ptr<Library> library;
    std::vector<std::shared_ptr<RE2>> compiled;
    std::vector<std::shared_ptr<Set>> sets;
};

extern "C" {

fgw_regexes *fgw_regexes_open(const void *image, const fgw_regexes *before) {
    try {
        auto set = std::make_unique<fgw_regexes>();
        set->image = image;
        set->library = before != nullptr ? before->library : std::make_shared<Library>();
        set->compiled.resize(fgw_header_of(image)->regexes.count);
        set->sets.resize(fgw_header_of(image)->regex_sets.count);
        Library &library = *set->library;
        set->number = ++library.images;
        if (set->number % kImagesKept == 0) {
            library.regexes.drop_unused(set->number);
            library.sets.drop_unused(set->number);
        }
        return set.release();
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void fgw_regexes_close(fgw_regexes *set) { delete set; }

uint64_t fgw_regexes_compiled(const fgw_regexes *set) { return set->library->regexes.made() + set->library->sets.made(); }

// The regex with this index, compiled at first use.
static const RE2 &regex_at(fgw_regexes *set, uint32_t index) {
    std::shared_ptr<RE2> &slot = set->compiled[index];
    if (slot == nullptr) {
        const fgw_img_regex &r = FGW_TABLE(set->image, regexes, fgw_img_regex)[index];
        slot = set->library->regexes.get(source_of(set->image, r), set->number, [&] {
            return std::make_shared<RE2>(pattern_of(set->image, r), options_for(r.flags & 1));
        });
    }
    return *slot;
}

int fgw_regexes_match(fgw_regexes *set, uint32_t index, const char *text, size_t n) {
    if (set == nullptr || index >= set->compiled.size())
        return 0;
    try {
        const RE2 &re = regex_at(set, index);
        return usable(re) && RE2::FullMatch(re2::StringPiece(text, n), re) ? 1 : 0;
    } catch (const std::bad_alloc &) {
        return 0;
    }
}

long fgw_regexes_replace(fgw_regexes *set, uint32_t index, const char *text, size_t n, const char *by, size_t by_len, char *to,
                         size_t cap) {
    if (set == nullptr || index >= set->compiled.size())
        return -1;
    try {
        const RE2 &re = regex_at(set, index);
        std::string whole(text, n);
        if (usable(re))
            RE2::GlobalReplace(&whole, re, re2::StringPiece(by, by_len));
        if (whole.size() > cap)
            return -1;
        std::memcpy(to, whole.data(), whole.size());
        return static_cast<long>(whole.size());
    } catch (const std::bad_alloc &) {
        return -1;
    }
}

long fgw_regexes_match_set(fgw_regexes *regexes, uint32_t set, const char *text, size_t n, const uint32_t **hits) {
    if (regexes == nullptr || set >= regexes->sets.size())
        return -1;
    try {
        std::shared_ptr<Set> &slot = regexes->sets[set];
        if (slot == nullptr) {
            const auto sources = sources_of(regexes->image, FGW_TABLE(regexes->image, regex_sets, fgw_img_regex_set)[set]);
            slot = regexes->library->sets.get(key_of(sources), regexes->number, [&] { return compile_set(sources); });
        }
        if (slot->compiled == nullptr)
            return -1;
        RE2::Set::ErrorInfo error;
        if (!slot->compiled->Match(re2::StringPiece(text, n), &slot->found, &error) && error.kind != RE2::Set::kNoError)
            return -1;
        slot->hits.assign(slot->found.begin(), slot->found.end());
        std::sort(slot->hits.begin(), slot->hits.end());
        *hits = slot->hits.data();
        return static_cast<long>(slot->hits.size());
    } catch (const std::bad_alloc &) {
        return -1;
    }
}

const fgw_regex_calls *fgw_regexes_calls(void) {
    static const fgw_regex_calls calls = {fgw_regexes_match, fgw_regexes_match_set, fgw_regexes_replace};
    return &calls;
}

int fgw_regex_check(const char *pattern, size_t n, int ignore_case, char *message, size_t cap, char *prefix, size_t prefix_cap,
                    size_t *prefix_len) {
    *prefix_len = 0;
    try {
        const RE2 re(re2::StringPiece(pattern, n), options_for(ignore_case != 0));
        if (!re.ok()) {
            say(message, cap, re.error());
            return 1;
        }
        if (re.ProgramSize() > kMaxProgramSize) {
            say(message, cap, "program size " + std::to_string(re.ProgramSize()) + " is above " + std::to_string(kMaxProgramSize));
            return 1;
        }
        const std::string found = literal_prefix(re);
        *prefix_len = std::min(found.size(), prefix_cap);
        std::memcpy(prefix, found.data(), *prefix_len);
        return 0;
    } catch (const std::bad_alloc &) {
        say(message, cap, "not enough memory to compile it");
        return 1;
    }
}

int fgw_regex_check_replacement(const char *pattern, size_t n, const char *by, size_t by_len, char *message, size_t cap) {
    try {
        const RE2 re(re2::StringPiece(pattern, n), options_for(false));
        std::string error;
        if (re.ok() && re.CheckRewriteString(re2::StringPiece(by, by_len), &error))
            return 0;
        say(message, cap, re.ok() ? error : re.error());
    } catch (const std::bad_alloc &) {
        say(message, cap, "not enough memory to compile it");
    }
    return 1;
}

int fgw_regex_full_match(const char *pattern, size_t n, const char *text, size_t text_len) {
    try {
        const RE2 re(re2::StringPiece(pattern, n), options_for(false));
        return usable(re) ? RE2::FullMatch(re2::StringPiece(text, text_len), re) : -1;
    } catch (const std::bad_alloc &) {
        return -1;
    }
}
}
