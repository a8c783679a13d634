/* The route image: one flat, immutable, position-independent block of bytes. Offsets count from its first byte; there are
 * no pointers. Built by fgw.image.writer, checked once by fgw_image_check(), mapped read-only by every worker.
 * All integers are little-endian and naturally aligned; strings are not terminated.
 *
 * Records that only the matcher reads (hash slots, trie nodes, candidate lists) are at the end of this file. */
#ifndef FGW_IMAGE_H
#define FGW_IMAGE_H
#include "base.h"

/* cffi:begin */
enum { FGW_IMAGE_VERSION = 1, FGW_NONE = 0xffffffff };

/* `count` records of the table's type, from `off`. */
typedef struct fgw_table {
    uint32_t off;
    uint32_t count;
} fgw_table;

typedef struct fgw_image_header {
    uint64_t magic; /* "FGWIMAGE" */
    uint32_t version;
    uint32_t header_bytes; /* sizeof(fgw_image_header) of the writer */
    uint64_t total_bytes;
    uint64_t generation;
    fgw_table listeners;    /* fgw_img_listener */
    fgw_table route_tables; /* fgw_img_route_table */
    fgw_table vhosts;       /* fgw_img_vhost */
    fgw_table rules;        /* fgw_img_rule, rules of a vhost are adjacent and in match order */
    fgw_table predicates;   /* fgw_img_predicate, those of a rule adjacent */
    fgw_table actions;      /* fgw_img_action */
    fgw_table destinations; /* fgw_img_destination */
    fgw_table clusters;     /* fgw_img_cluster */
    fgw_table endpoints;    /* fgw_img_endpoint */
    fgw_table regexes;      /* fgw_img_regex */
    fgw_table origins;      /* fgw_img_origin */
    fgw_table slots;        /* fgw_img_slot: all hash tables lie in here */
    fgw_table nodes;        /* fgw_img_node: all tries */
    fgw_table edges;        /* fgw_img_edge */
    fgw_table candidates;   /* uint32_t rule indexes: all candidate lists */
    fgw_table strings;      /* bytes */
} fgw_image_header;

/* Where a record came from, for explain, logs and admin. */
typedef struct fgw_img_origin {
    fgw_span file;
    fgw_span kind;      /* "VirtualService" */
    fgw_span name;      /* "namespace/name" */
    uint32_t line;
    uint32_t column;
} fgw_img_origin;

enum fgw_listener_protocol { FGW_LISTENER_HTTP = 1, FGW_LISTENER_TCP = 2, FGW_LISTENER_TLS = 3 };

typedef struct fgw_img_listener {
    fgw_span name; /* "0.0.0.0_80": also the key by which a worker finds the listening socket again */
    fgw_span bind; /* "" is the wildcard */
    uint32_t port; /* the Gateway's port number (after targetPort translation, before --listen-map) */
    uint32_t protocol;
    uint32_t route_table; /* index, FGW_NONE for layer 4 */
    uint32_t origin;
} fgw_img_listener;

typedef struct fgw_img_route_table {
    fgw_span name;           /* "http.80" */
    fgw_table vhosts;        /* adjacent in the vhost table */
    fgw_table exact;         /* slots: hash of a lower-case host -> vhost */
    fgw_table suffix;        /* slots: hash of the part after '*' of a wildcard domain -> vhost */
    fgw_table suffix_lengths; /* in the candidates table: distinct lengths of those parts, longest first */
    uint32_t default_vhost;  /* domain "*", FGW_NONE without one */
    uint32_t label_suffixes_only; /* 1: every wildcard starts at a label ("*.x"), so only the dots of a host are probed */
} fgw_img_route_table;

enum fgw_vhost_flag { FGW_VHOST_REQUIRE_TLS = 1 /* httpsRedirect: 301 before any route is looked at */ };

typedef struct fgw_img_vhost {
    fgw_span name;     /* "webapp.istioinaction.io:80" */
    fgw_table rules;   /* first and count, in match order */
    uint32_t flags;
    uint32_t exact;    /* index of the first slot of the exact-path hash (count in exact_count), FGW_NONE without one */
    uint32_t exact_count;
    uint32_t root;     /* node index of the prefix trie, FGW_NONE without one */
    uint32_t root_fold; /* the same for rules with ignoreUriCase (keys in lower case) */
    uint32_t exact_fold;
    uint32_t exact_fold_count;
    fgw_table unanchored; /* candidates: rules whose regex has no literal prefix, or that have no path condition a trie can hold */
    uint32_t origin;
} fgw_img_vhost;

enum fgw_path_kind { FGW_PATH_ANY = 0, FGW_PATH_EXACT = 1, FGW_PATH_PREFIX = 2, FGW_PATH_REGEX = 3, FGW_PATH_SEGMENT_PREFIX = 4 };

typedef struct fgw_img_rule {
    fgw_span name;          /* "http.name" or "http.name.match.name", may be empty */
    fgw_span path;          /* value of the path condition (lower case when ignore_case) */
    uint8_t path_kind;      /* enum fgw_path_kind */
    uint8_t ignore_case;
    uint16_t predicate_count;
    uint32_t predicates;    /* index of the first */
    uint32_t regex;         /* index for FGW_PATH_REGEX, else FGW_NONE */
    uint32_t action;
    uint32_t virtual_service; /* origin of the VirtualService object */
    uint32_t origin;        /* of this match (file, line) */
    uint16_t route_index;   /* within the VirtualService, from 0 */
    uint16_t match_index;
} fgw_img_rule;

enum fgw_predicate_target {
    FGW_ON_METHOD = 1, FGW_ON_SCHEME, FGW_ON_AUTHORITY, FGW_ON_HEADER, FGW_ON_QUERY, FGW_ON_RAW_PATH, FGW_ON_NEVER /* cannot hold */
};
enum fgw_predicate_op { FGW_OP_EXACT = 1, FGW_OP_PREFIX, FGW_OP_REGEX, FGW_OP_PRESENT };

typedef struct fgw_img_predicate {
    fgw_span name;     /* header (lower case) or query parameter */
    fgw_span value;
    uint8_t target;    /* enum fgw_predicate_target */
    uint8_t op;        /* enum fgw_predicate_op */
    uint8_t invert;    /* withoutHeaders; an absent header then counts as "" (statement G8) */
    uint8_t header_id; /* enum fgw_header_id of name, FGW_HDR_OTHER: compare the name */
    uint32_t regex;
} fgw_img_predicate;

enum fgw_action_kind {
    FGW_ACTION_ROUTE = 1,
    FGW_ACTION_UNSUPPORTED = 2, /* a valid action that this version cannot perform: answered, never passed over */
};

typedef struct fgw_img_action {
    uint8_t kind;
    uint8_t pad[3];
    uint32_t total_weight;
    fgw_table destinations; /* zero-weight ones are left out, unless there is only one */
} fgw_img_action;

typedef struct fgw_img_destination {
    uint32_t cluster;           /* FGW_NONE: unknown host, port or subset: 503 NC */
    uint32_t weight;
    uint32_t cumulative_weight; /* of this and all before it in the action */
    fgw_span cluster_name;      /* also when the cluster is unknown */
} fgw_img_destination;

enum fgw_discovery { FGW_DISCOVERY_STATIC = 0, FGW_DISCOVERY_DNS = 1 };
enum fgw_lb { FGW_LB_LEAST_REQUEST = 0, FGW_LB_ROUND_ROBIN = 1, FGW_LB_RANDOM = 2 };
enum fgw_upstream_protocol { FGW_UPSTREAM_HTTP1 = 1, FGW_UPSTREAM_HTTP2 = 2, FGW_UPSTREAM_TCP = 3 };

typedef struct fgw_img_cluster {
    fgw_span name;    /* "outbound|8080||webapp.default.svc.cluster.local" */
    fgw_span host;    /* full host of the service */
    fgw_span service_name;
    fgw_span service_namespace;
    fgw_span subset;
    uint32_t port;
    uint8_t discovery;
    uint8_t lb;
    uint8_t protocol;
    uint8_t pad;
    fgw_table endpoints;  /* FGW_DISCOVERY_STATIC */
    uint32_t dns_slot;    /* FGW_DISCOVERY_DNS: index of the slot in the state segment */
    uint32_t connect_timeout_ms;
    uint32_t metric_id;   /* stable number of (host, service_name, service_namespace) in the metrics */
    uint32_t origin;
} fgw_img_cluster;

enum fgw_family { FGW_FAMILY_UNIX = 1, FGW_FAMILY_IPV4 = 4, FGW_FAMILY_IPV6 = 6 };
enum fgw_endpoint_flag { FGW_ENDPOINT_UNHEALTHY = 1 /* known not ready: never picked */ };

typedef struct fgw_img_endpoint {
    uint8_t family;
    uint8_t flags;
    uint16_t port;
    uint32_t weight;   /* >= 1 */
    uint8_t ip[16];    /* network order; IPv4 in the first four */
    uint32_t cell;     /* index of its cell in the state segment, the same in every generation */
    fgw_span path;     /* FGW_FAMILY_UNIX */
} fgw_img_endpoint;

typedef struct fgw_img_regex {
    fgw_span pattern; /* RE2 syntax, matched against the whole text */
    fgw_span literal_prefix;
    uint32_t flags;   /* 1: ignore case */
} fgw_img_regex;

/* --- read by the matcher only --- */

/* Open addressing, power-of-two tables, linear probing; key.len == FGW_NONE marks an empty slot. */
typedef struct fgw_img_slot {
    uint32_t hash;
    fgw_span key;
    uint32_t first; /* host tables: the vhost index; path tables: first candidate */
    uint32_t count; /* path tables: number of candidates */
} fgw_img_slot;

/* Radix trie over bytes. `candidates` of a node is the merged list, in match order, of every rule whose path condition holds for
 * all paths that reach the node and go no further, cut after the first rule that has no other condition. */
typedef struct fgw_img_node {
    fgw_span label;        /* bytes consumed on the way into this node */
    fgw_table edges;       /* sorted by first byte */
    fgw_table candidates;
    uint32_t parent;
    uint32_t reserved;
} fgw_img_node;

typedef struct fgw_img_edge {
    uint32_t byte;
    uint32_t node;
} fgw_img_edge;

/* Walk the whole image once: every offset, count, index and enum. Returns 1, or minus FGW_R_IMAGE_*. After it has
 * answered 1 no reader needs a bounds check. */
long fgw_image_check(const void *image, size_t n);
/* cffi:end */

#define FGW_IMAGE_MAGIC 0x4547414d49574746ull /* "FGWIMAGE" read as little-endian */

#endif
