/* The route image: one flat, immutable, position-independent block of bytes. Offsets count from its first byte; there are
 * no pointers. Built by fgw.image.writer, checked once by fgw_image_check(), mapped read-only by every worker.
 * All integers are little-endian and naturally aligned; strings are not terminated.
 *
 * Records that only the matcher reads (hash slots, trie nodes, candidate lists) are at the end of this file. */
#ifndef FGW_IMAGE_H
#define FGW_IMAGE_H
#include "base.h"

/* cffi:begin */
enum { FGW_IMAGE_VERSION = 16, FGW_NONE = 0xffffffff };

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
    fgw_table chains;       /* fgw_img_chain, those of a listener adjacent and sorted by name */
    fgw_table sni_tables;   /* fgw_img_sni_table */
    fgw_table tls_contexts; /* fgw_img_tls_context */
    fgw_table upstream_tls; /* fgw_img_upstream_tls */
    fgw_table texts;        /* fgw_span: lists of strings */
    fgw_table route_tables; /* fgw_img_route_table */
    fgw_table vhosts;       /* fgw_img_vhost */
    fgw_table rules;        /* fgw_img_rule, rules of a vhost are adjacent and in match order */
    fgw_table predicates;   /* fgw_img_predicate, those of a rule adjacent */
    fgw_table actions;      /* fgw_img_action */
    fgw_table destinations; /* fgw_img_destination */
    fgw_table answers;      /* fgw_img_answer */
    fgw_table route_policies; /* fgw_img_route_policy */
    fgw_table retries;      /* fgw_img_retry */
    fgw_table cors;         /* fgw_img_cors */
    fgw_table mirrors;      /* fgw_img_mirror, those of a policy adjacent */
    fgw_table pages;        /* fgw_img_page, those of a policy, a virtual host or a route table adjacent */
    fgw_table guards;       /* fgw_img_guard */
    fgw_table source_lists; /* fgw_img_source_list, those of a guard adjacent */
    fgw_table rate_limits;  /* fgw_img_rate_limit, the same */
    fgw_table rate_keys;    /* fgw_img_rate_key, those of a limit adjacent */
    fgw_table edits;        /* fgw_img_edit, those of a block adjacent */
    fgw_table parts;        /* fgw_img_part, those of a value adjacent */
    fgw_table clusters;     /* fgw_img_cluster */
    fgw_table endpoints;    /* fgw_img_endpoint, those of a cluster adjacent and sorted by priority */
    fgw_table policies;     /* fgw_img_policy */
    fgw_table ring_points;  /* fgw_img_ring_point, those of a cluster adjacent and sorted by hash */
    fgw_table maglev_places; /* fgw_img_maglev_place */
    fgw_table regexes;      /* fgw_img_regex */
    fgw_table origins;      /* fgw_img_origin */
    fgw_table slots;        /* fgw_img_slot: all hash tables lie in here */
    fgw_table nodes;        /* fgw_img_node: all tries; node v is the root of virtual host v */
    fgw_table lists;        /* fgw_img_list */
    fgw_table groups;       /* fgw_img_group */
    fgw_table regex_sets;   /* fgw_img_regex_set */
    fgw_table candidates;   /* uint32_t rule indexes: all candidate lists */
    fgw_table strings;      /* bytes */
} fgw_image_header;

/* Where a record came from, for explain, logs and admin. */
typedef struct fgw_img_origin {
    fgw_span file;
    fgw_span kind; /* "VirtualService" */
    fgw_span name; /* "namespace/name" */
    uint32_t line;
    uint32_t column;
} fgw_img_origin;

enum fgw_listener_flag { FGW_LISTENER_PROXY_PROTOCOL = 1 /* a connection begins with a PROXY header */ };

/* One (bind, port). A connection whose first byte is that of a TLS record takes the chain that `sni` gives for its server name;
 * any other takes `plain`. */
typedef struct fgw_img_listener {
    fgw_span name; /* "0.0.0.0_80": also the key by which a worker finds the listening socket again */
    fgw_span bind; /* "" is the wildcard */
    uint32_t port; /* the Gateway's port number (after targetPort translation, before --listen-map) */
    uint32_t plain;   /* chain, FGW_NONE: only TLS is spoken */
    uint32_t sni;     /* sni table, FGW_NONE: no TLS is looked for, and a client's first byte is not waited for */
    uint32_t origin;
    uint32_t flags;           /* enum fgw_listener_flag */
    uint32_t max_connections; /* open at once on all workers; 0: no limit, FGW_NONE: as the worker was told */
    uint32_t max_per_source;  /* the same for one source address */
    fgw_table chains; /* all of this listener's, adjacent, sorted by name (bytewise) */
} fgw_img_listener;

enum fgw_chain_kind {
    FGW_CHAIN_HTTP = 1, /* requests, by `route_table` */
    FGW_CHAIN_TCP = 2,  /* the bytes of a connection go to one destination of `action` */
};
enum fgw_chain_tls {
    FGW_TLS_NONE = 0,
    FGW_TLS_TERMINATE = 1,   /* by `tls_context` */
    FGW_TLS_PASSTHROUGH = 2, /* the hello was only looked at */
};

/* How connections of a listener are served: Envoy's filter chain. */
typedef struct fgw_img_chain {
    fgw_span name; /* unique within its listener and stable over generations; a terminating HTTPS server: its route table's */
    uint8_t kind;  /* enum fgw_chain_kind */
    uint8_t tls;   /* enum fgw_chain_tls */
    uint8_t grpc_web; /* 1: gRPC-Web is translated here */
    uint8_t pad;
    uint32_t tls_context;     /* FGW_TLS_TERMINATE, else FGW_NONE */
    uint32_t route_table;     /* FGW_CHAIN_HTTP, else FGW_NONE */
    uint32_t action;          /* FGW_CHAIN_TCP: FGW_NONE means that nothing is routed there (the connection is closed) */
    uint32_t idle_timeout_ms; /* FGW_CHAIN_TCP; 0: none */
    uint32_t virtual_service; /* FGW_CHAIN_TCP: origin of the VirtualService, FGW_NONE without one */
    uint32_t origin;          /* of the Gateway's server, or of the match of the tls or tcp route */
    uint32_t guard;           /* FGW_CHAIN_TCP: its lists of clients, FGW_NONE: none */
    uint64_t identity; /* FGW_TLS_TERMINATE: of the certificates shown and of all that is asked of clients, the same over generations.
                          Between chains with the same one a request may pass (misdirected requests, requirement G5), and a connection
                          whose chain has another one now must not go on under it. */
} fgw_img_chain;

/* Names -> numbers: exact ones by hash, wildcards by what follows their '*', then the default. */
typedef struct fgw_img_hosts {
    fgw_table exact;              /* slots: a lower-case host -> value, fgw_hash_forward */
    fgw_table suffix;             /* slots: the part after '*' of a wildcard domain -> value, fgw_hash_backward */
    uint32_t default_value;       /* domain "*", FGW_NONE without one */
    uint32_t label_suffixes_only; /* 1: every wildcard starts at a label ("*.x"), so only the dots of a host are probed */
    uint32_t suffix_max;          /* longest of those parts */
    uint32_t reserved;
    uint64_t suffix_lengths[8]; /* bit n: a part of n bytes exists */
} fgw_img_hosts;

/* Server names of a listener -> chains. A hello without a name, or with an unknown one, takes the default (P1, P2). */
typedef struct fgw_img_sni_table {
    fgw_img_hosts hosts;
} fgw_img_sni_table;

enum fgw_client_auth {
    FGW_CLIENT_AUTH_NONE = 0,
    FGW_CLIENT_AUTH_OPTIONAL = 1,   /* verified when the client sends one (P6) */
    FGW_CLIENT_AUTH_REQUIRE = 2,
    FGW_CLIENT_AUTH_UNVERIFIED = 3, /* insecureSkipVerify of OPTIONAL_MUTUAL: asked for, never verified */
    FGW_CLIENT_AUTH_REQUIRE_UNVERIFIED = 4, /* of MUTUAL: one has to be shown, whatever it is */
};
enum fgw_alpn { FGW_ALPN_HTTP1 = 1, FGW_ALPN_H2 = 2, FGW_ALPN_ISTIO = 4 /* "istio", "istio-peer-exchange" */ };
enum fgw_tls_version { FGW_TLS10 = 1, FGW_TLS11 = 2, FGW_TLS12 = 3, FGW_TLS13 = 4 };

/* What a server of a Gateway asks of TLS. Credentials are names in the credentials block (credentials.h): whether they exist,
 * and what they hold, may change without a new image. */
typedef struct fgw_img_tls_context {
    fgw_span name;           /* "namespace/gateway#index" */
    fgw_span certificates[2]; /* of the server; the second may be empty */
    fgw_span ca;             /* clients are verified against; "" without */
    uint8_t client_auth;     /* enum fgw_client_auth */
    uint8_t min_version;     /* enum fgw_tls_version */
    uint8_t max_version;
    uint8_t alpn;            /* set of enum fgw_alpn that is offered */
    fgw_span ciphers;        /* OpenSSL's list for TLS 1.2 and below, "" for the default */
    fgw_span curves;         /* OpenSSL's list, "" for the default */
    fgw_table sans;          /* texts: one of them must be among the client certificate's names; empty: any */
    fgw_table spki;          /* texts: 32 bytes each, SHA-256 of the client's public key */
    fgw_table hashes;        /* texts: 32 bytes each, SHA-256 of the client's certificate */
    uint32_t origin;
} fgw_img_tls_context;

enum fgw_upstream_verify {
    FGW_VERIFY_NONE = 0,  /* insecureSkipVerify */
    FGW_VERIFY_CHAIN = 1, /* any certificate of the CA */
    FGW_VERIFY_NAMES = 2, /* and one of `sans`, without them the SNI, must be among its names */
};

/* How an upstream is spoken to over TLS (DestinationRule). */
typedef struct fgw_img_upstream_tls {
    fgw_span certificate; /* credential shown to the upstream, "" for none */
    fgw_span ca;          /* credential to verify against; "system": the system's CAs */
    fgw_span sni;         /* "": the request's host (Q17) */
    uint8_t verify;       /* enum fgw_upstream_verify */
    uint8_t min_version;
    uint8_t max_version;
    uint8_t alpn; /* set of enum fgw_alpn */
    fgw_table sans;    /* texts */
    uint64_t identity; /* of all of the above: connections made with another one are not used again */
} fgw_img_upstream_tls;

typedef struct fgw_img_route_table {
    fgw_span name;    /* "http.80", "https.443.https.gw.ns" */
    fgw_table vhosts; /* adjacent in the vhost table */
    fgw_table pages;  /* of its Gateways, for requests of hosts that it does not have */
    fgw_img_hosts hosts; /* domains -> vhosts */
} fgw_img_route_table;

enum fgw_vhost_flag { FGW_VHOST_REQUIRE_TLS = 1 /* httpsRedirect: 301, whatever the routes say (but see route.h) */ };

typedef struct fgw_img_vhost {
    fgw_span name;   /* "webapp.istioinaction.io:80" */
    fgw_table rules; /* first and count, in match order */
    uint16_t flags;
    uint16_t own_pages;
    uint32_t origin;
    uint32_t root_fold; /* node: trie of the rules with ignoreUriCase, keys in lower case; FGW_NONE without one */
    uint32_t guard;     /* of requests that no rule takes, FGW_NONE without one */
    fgw_table pages;    /* the first `own_pages` are for the answers that they get, those behind (of its Gateways) for all answers */
} fgw_img_vhost;

enum fgw_path_kind { FGW_PATH_ANY = 0, FGW_PATH_EXACT = 1, FGW_PATH_PREFIX = 2, FGW_PATH_REGEX = 3, FGW_PATH_SEGMENT_PREFIX = 4 };

typedef struct fgw_img_rule {
    fgw_span name;     /* "http.name" or "http.name.match.name", may be empty */
    fgw_span path;     /* value of the path condition (lower case when ignore_case) */
    uint8_t path_kind; /* enum fgw_path_kind */
    uint8_t ignore_case;
    uint16_t predicate_count;
    uint32_t predicates; /* index of the first */
    uint32_t regex;      /* index for FGW_PATH_REGEX, else FGW_NONE */
    uint32_t action;
    uint32_t virtual_service; /* origin of the VirtualService object */
    uint32_t origin;          /* of this match (file, line) */
    uint16_t route_index;     /* within the VirtualService, from 0 */
    uint16_t match_index;
} fgw_img_rule;

enum fgw_predicate_target {
    FGW_ON_PATH = 0, /* of regex sets: the rule's path condition */
    FGW_ON_METHOD = 1,
    FGW_ON_SCHEME,
    FGW_ON_AUTHORITY,
    FGW_ON_HEADER,
    FGW_ON_QUERY,
    FGW_ON_RAW_PATH,
    FGW_ON_NEVER /* cannot hold */
};
enum fgw_predicate_op { FGW_OP_EXACT = 1, FGW_OP_PREFIX, FGW_OP_REGEX, FGW_OP_PRESENT };

typedef struct fgw_img_predicate {
    fgw_span name; /* header (lower case) or query parameter */
    fgw_span value;
    uint8_t target;    /* enum fgw_predicate_target */
    uint8_t op;        /* enum fgw_predicate_op */
    uint8_t invert;    /* withoutHeaders; an absent header then counts as "" (statement G8) */
    uint8_t header_id; /* enum fgw_header_id of name, FGW_HDR_OTHER: compare the name */
    uint32_t regex;
} fgw_img_predicate;

enum fgw_action_kind {
    FGW_ACTION_ROUTE = 1,
    FGW_ACTION_UNSUPPORTED = 2, /* an action that cannot be performed: answered, never passed over */
    FGW_ACTION_REDIRECT = 3,    /* by `answer` */
    FGW_ACTION_DIRECT = 4,      /* the same */
};

/* What values of header fields and of the access log are made of; the words for them are in fastgw/model/values.py. */
enum fgw_value {
    FGW_VALUE_TEXT = 0,
    FGW_VALUE_START_TIME,
    FGW_VALUE_METHOD,
    FGW_VALUE_PATH,
    FGW_VALUE_PROTOCOL,
    FGW_VALUE_CODE,
    FGW_VALUE_FLAGS,
    FGW_VALUE_DETAILS,
    FGW_VALUE_TERMINATION_DETAILS,
    FGW_VALUE_TRANSPORT_FAILURE,
    FGW_VALUE_BYTES_RECEIVED,
    FGW_VALUE_BYTES_SENT,
    FGW_VALUE_DURATION,
    FGW_VALUE_UPSTREAM_SERVICE_TIME,
    FGW_VALUE_AUTHORITY,
    FGW_VALUE_SCHEME,
    FGW_VALUE_REQUEST_ID,
    FGW_VALUE_REQUEST_HEADER,
    FGW_VALUE_RESPONSE_HEADER,
    FGW_VALUE_UPSTREAM_HOST, /* from here on addresses */
    FGW_VALUE_UPSTREAM_CLUSTER,
    FGW_VALUE_UPSTREAM_LOCAL_ADDRESS,
    FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS,
    FGW_VALUE_DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT,
    FGW_VALUE_DOWNSTREAM_LOCAL_PORT,
    FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_ADDRESS,
    FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT,
    FGW_VALUE_DOWNSTREAM_DIRECT_REMOTE_PORT,
    FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS,
    FGW_VALUE_DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT,
    FGW_VALUE_DOWNSTREAM_REMOTE_PORT,
    FGW_VALUE_ROUTE_NAME, /* from here on names and numbers of the decision */
    FGW_VALUE_VIRTUAL_SERVICE,
    FGW_VALUE_REJECT_REASON,
    FGW_VALUE_ATTEMPTS,
    FGW_VALUE_LISTENER,
    FGW_VALUE_REQUESTED_SERVER_NAME, /* from here on what TLS with the client has shown */
    FGW_VALUE_TLS_VERSION,
    FGW_VALUE_TLS_CIPHER,
    FGW_VALUE_TLS_SESSION_ID,
    FGW_VALUE_PEER_SUBJECT,
    FGW_VALUE_PEER_ISSUER,
    FGW_VALUE_PEER_URI_SAN,
    FGW_VALUE_PEER_DNS_SAN,
    FGW_VALUE_PEER_SERIAL,
    FGW_VALUE_PEER_FINGERPRINT_256,
    FGW_VALUE_PEER_FINGERPRINT_1,
    FGW_VALUE_PEER_CERT,
    FGW_VALUE_PEER_CERT_V_START,
    FGW_VALUE_PEER_CERT_V_END,
    FGW_VALUE_LOCAL_SUBJECT,
    FGW_VALUE_LOCAL_URI_SAN,
    FGW_VALUE_LOCAL_DNS_SAN,
    FGW_VALUE_GRPC_STATUS, /* from here on of gRPC calls: CamelCase, SNAKE_CASE, number */
    FGW_VALUE_GRPC_STATUS_SNAKE,
    FGW_VALUE_GRPC_STATUS_NUMBER,
    FGW_VALUE_COUNT
};

/* A piece of a value. */
typedef struct fgw_img_part {
    uint8_t code;      /* enum fgw_value */
    uint8_t header_id; /* enum fgw_header_id of `text`, where it is the name of a field */
    uint8_t other_id;
    uint8_t pad;
    uint32_t limit; /* so many bytes of the value at the most, FGW_NONE: all */
    fgw_span text;  /* literal text, a format of time, or a field's name in lower case */
    fgw_span other; /* the field that is taken when the first is missing, "" without one */
} fgw_img_part;

enum fgw_edit_kind { FGW_EDIT_REMOVE = 1, FGW_EDIT_SET = 2, FGW_EDIT_ADD = 3 };

/* A change of one field. A value that comes out empty changes nothing (K4). Fields that frame messages are never edited. */
typedef struct fgw_img_edit {
    fgw_span name; /* lower case */
    fgw_table value; /* parts; FGW_EDIT_REMOVE: none */
    uint8_t kind;    /* enum fgw_edit_kind */
    uint8_t header_id;
    uint8_t pad[2];
} fgw_img_edit;

/* What is changed of a request and its answer, each block in this order: removals, then what is set, then what is added (K2). */
typedef struct fgw_img_edits {
    fgw_table request;
    fgw_table response;
    fgw_span authority; /* what the upstream sees in place of the request's, "" without (K7) */
} fgw_img_edits;

/* What keeps a client at its destination; see sticky.h. */
enum { FGW_STICKY_NAME_MAX = 128 };
enum fgw_sticky { FGW_STICKY_NONE = 0, FGW_STICKY_COOKIE = 1, FGW_STICKY_HEADER = 2, FGW_STICKY_SOURCE_IP = 3 };

typedef struct fgw_img_action {
    uint8_t kind;
    uint8_t sticky;           /* enum fgw_sticky */
    uint8_t sticky_header_id; /* enum fgw_header_id of sticky_name under FGW_STICKY_HEADER */
    uint8_t pad;
    uint32_t total_weight;
    fgw_table destinations; /* zero-weight ones are left out, unless there is only one */
    fgw_span sticky_name;   /* cookie, or header in lower case */
    uint32_t sticky_ttl_s;  /* Max-Age of the cookie, FGW_NONE: until the browser closes */
    uint32_t answer;        /* FGW_ACTION_REDIRECT and FGW_ACTION_DIRECT, else FGW_NONE */
    uint32_t policy;        /* route policy of FGW_ACTION_ROUTE; FGW_NONE: nothing but defaults */
    uint32_t guard;         /* before anything else; FGW_NONE: nothing is asked */
    fgw_img_edits edits;    /* after those of the destination (K6) */
} fgw_img_action;

/* What a redirect puts in place of the request's path. */
enum fgw_new_path { FGW_PATH_KEPT = 0, FGW_PATH_REPLACED = 1, FGW_PATH_PREFIX_REPLACED = 2 /* the part that the rule matched */ };

/* An answer that the gateway gives itself: a redirect, whose `text` is the new path, or a direct response, whose `text` is its body. */
typedef struct fgw_img_answer {
    fgw_span text;
    fgw_span scheme;    /* of a redirect; "": the request's */
    fgw_span authority; /* of a redirect; "": the request's */
    uint16_t status;
    uint16_t port;    /* of a redirect; 0: none is put behind the host */
    uint8_t new_path; /* of a redirect: enum fgw_new_path */
    uint8_t pad[3];
} fgw_img_answer;

/* What becomes of the path on its way to the upstream. FGW_REWRITE_PATH: the prefix that the rule matched is replaced; the whole
 * path where the rule names it whole (M11, M12). FGW_REWRITE_REGEX: every match of a regex in the path is (M14). */
enum fgw_rewrite { FGW_REWRITE_NONE = 0, FGW_REWRITE_PATH = 1, FGW_REWRITE_REGEX = 2 };

enum { FGW_PER_MILLION = 1000000, FGW_GRPC_NONE = 255 };

/* What a route asks for beyond destinations and header fields (sections J, M, N). */
typedef struct fgw_img_route_policy {
    fgw_span rewrite_text; /* what is put in place; FGW_REWRITE_REGEX: with \1 to \9 for groups */
    uint32_t regex;        /* FGW_REWRITE_REGEX, else FGW_NONE */
    uint8_t rewrite;       /* enum fgw_rewrite */
    uint8_t abort_grpc;    /* grpc-status of an abort, FGW_GRPC_NONE: abort_status counts */
    uint16_t abort_status;
    uint32_t timeout_ms; /* of the whole request, 0: none */
    uint32_t delay_ms;
    uint32_t delay_per_million; /* of the requests */
    uint32_t abort_per_million;
    uint32_t retry; /* FGW_NONE: the default policy */
    uint32_t cors;  /* FGW_NONE: none */
    fgw_table mirrors;
    fgw_table pages; /* in place of the texts of answers that the gateway makes; the first of those with a status is its default */
} fgw_img_route_policy;

/* The body of the gateway's own answers with a status from `low` to `high`. */
typedef struct fgw_img_page {
    fgw_span content_type;
    fgw_span body;
    uint16_t low;
    uint16_t high;
} fgw_img_page;

/* What is asked of a request before anything else is done with it. */
typedef struct fgw_img_guard {
    fgw_table sources;          /* all of these lists have to let the client in */
    fgw_table rate_limits;      /* and all of these the request; FGW_RATE_LIMITS_MAX at the most */
    fgw_span rate_policies;     /* of the field RateLimit-Policy, in the order of the limits */
    uint64_t max_request_bytes; /* of a body, 0: any */
} fgw_img_guard;

enum fgw_source { FGW_SOURCE_ALLOWED = 1, FGW_SOURCE_DENIED = 2 };

typedef struct fgw_img_source_list {
    fgw_span networks; /* a set of fgw/cidr.h, whose values are enum fgw_source */
    fgw_span policy;   /* "namespace/name" of who asks for it */
    uint8_t otherwise; /* enum fgw_source, of clients in none of the networks, and of those without an IP address */
    uint8_t pad[3];
} fgw_img_source_list;

enum { FGW_RATE_LIMITS_MAX = 64, FGW_RATE_NAME_MAX = 64 };

typedef struct fgw_img_rate_limit {
    fgw_span name;        /* letters, digits, '.', '_', '-' */
    uint64_t identity;    /* of its buckets, the same over generations as long as nothing of the limit changes */
    uint64_t interval_ns; /* one request comes into a bucket, >= 1; interval_ns * burst < 2^62 */
    uint32_t burst;       /* requests that a bucket holds, >= 1 */
    uint32_t number;      /* of its counts in the state segment, the same in every generation */
    fgw_table keys;       /* what tells buckets apart; none: there is one */
} fgw_img_rate_limit;

enum fgw_rate_by { FGW_RATE_BY_SOURCE = 1, FGW_RATE_BY_HEADER = 2 };

typedef struct fgw_img_rate_key {
    fgw_span name;    /* FGW_RATE_BY_HEADER: lower case */
    uint8_t kind;     /* enum fgw_rate_by */
    uint8_t header_id;
    uint8_t v4_bits;  /* FGW_RATE_BY_SOURCE: clients of one network of so many bits share a bucket */
    uint8_t v6_bits;
} fgw_img_rate_key;

/* When a request is tried again: retryOn's conditions, named after Envoy's. */
enum fgw_retry_on {
    FGW_RETRY_5XX = 1,
    FGW_RETRY_GATEWAY_ERROR = 2,
    FGW_RETRY_RESET = 4,
    FGW_RETRY_RESET_BEFORE_REQUEST = 8,
    FGW_RETRY_CONNECT_FAILURE = 16,
    FGW_RETRY_RATELIMITED = 32,
    FGW_RETRY_RETRIABLE_4XX = 64,
    FGW_RETRY_REFUSED_STREAM = 128,
    FGW_RETRY_STATUSES = 256, /* those of `statuses` */
    FGW_RETRY_ALL = 511,
};
enum { FGW_STATUS_SETS = 8 };
/* Are endpoints that have been tried left alone where others are (J10)? */
enum fgw_avoid_tried { FGW_AVOID_NEVER = 0, FGW_AVOID_ALWAYS = 1, FGW_AVOID_UNLESS_HASHED = 2 };

typedef struct fgw_img_retry {
    uint32_t attempts; /* after the first; 0: none */
    uint32_t on;       /* set of enum fgw_retry_on */
    uint32_t on_grpc;  /* bit n: grpc-status n in the head of an answer */
    uint32_t per_try_timeout_ms; /* 0: none */
    uint32_t backoff_ms;         /* base of the growing pause, >= 1 */
    uint8_t avoid_tried;         /* enum fgw_avoid_tried */
    uint8_t other_localities;    /* retryRemoteLocalities */
    uint8_t pad[2];
    uint64_t statuses[FGW_STATUS_SETS]; /* bit n: status 100 + n */
} fgw_img_retry;

/* corsPolicy. `origins` are conditions on the field origin, one of which has to hold. */
typedef struct fgw_img_cors {
    fgw_table origins;       /* predicates */
    fgw_span allow_methods;  /* "*": what the client asks for, "": not sent; the same below */
    fgw_span allow_headers;
    fgw_span expose_headers;
    fgw_span max_age;
    uint8_t credentials;
    uint8_t ignore_unmatched; /* a preflight of another origin is answered here, not forwarded (N8) */
    uint8_t pad[2];
} fgw_img_cors;

typedef struct fgw_img_mirror {
    uint32_t cluster; /* FGW_NONE: unknown, nothing is sent (N11) */
    uint32_t per_million;
} fgw_img_mirror;

typedef struct fgw_img_destination {
    uint32_t cluster; /* FGW_NONE: unknown host, port or subset: 503 NC */
    uint32_t weight;
    uint32_t cumulative_weight; /* of this and all before it in the action */
    fgw_span cluster_name;      /* also when the cluster is unknown */
    fgw_img_edits edits;
} fgw_img_destination;

enum fgw_discovery {
    FGW_DISCOVERY_STATIC = 0,
    FGW_DISCOVERY_DNS = 1, /* some endpoints are names (FGW_FAMILY_NAME), whose addresses are in the slot */
};
/* The last two are consistentHash; a request without a key then goes to an endpoint at random (Q3). */
enum fgw_lb {
    FGW_LB_LEAST_REQUEST = 0,
    FGW_LB_ROUND_ROBIN = 1,
    FGW_LB_RANDOM = 2,
    FGW_LB_RING_HASH = 3,
    FGW_LB_MAGLEV = 4
};
enum fgw_upstream_protocol {
    FGW_UPSTREAM_HTTP1 = 1,
    FGW_UPSTREAM_HTTP2 = 2,
    FGW_UPSTREAM_TCP = 3,
    FGW_UPSTREAM_CLIENT = 4, /* HTTP/2 for requests that come by HTTP/2, HTTP/1.1 for others */
};

typedef struct fgw_img_cluster {
    fgw_span name; /* "outbound|8080||webapp.default.svc.cluster.local" */
    fgw_span host; /* full host of the service */
    fgw_span service_name;
    fgw_span service_namespace;
    fgw_span subset;
    uint32_t port;
    uint8_t discovery;
    uint8_t lb;
    uint8_t protocol;
    uint8_t weighted; /* 1: the weights of its endpoints differ */
    fgw_table endpoints;
    uint32_t dns_slot;   /* FGW_DISCOVERY_DNS: index of the slot in the state segment */
    uint32_t connect_timeout_ms;
    uint32_t tls;       /* index in upstream_tls, FGW_NONE: plain text */
    uint32_t metric_id; /* stable number of (host, service_name, service_namespace) in the metrics */
    uint32_t max_streams; /* of one HTTP/2 connection at a time; 0: as many as the upstream allows */
    uint32_t ping_interval_ms; /* HTTP/2: how often a PING asks whether the upstream is still there; 0: never */
    uint32_t ping_timeout_ms;  /* without an answer for so long it is not */
    uint32_t policy;    /* FGW_NONE: nothing but defaults */
    uint32_t state;     /* index of its fgw_cluster_state in the state segment, the same in every generation */
    uint32_t origin;
    fgw_table ring;   /* ring_points: FGW_LB_RING_HASH with FGW_DISCOVERY_STATIC */
    fgw_table maglev; /* maglev_places: the same for FGW_LB_MAGLEV */
} fgw_img_cluster;

enum { FGW_HASH_NAME_MAX = 128, FGW_COOKIE_REST_MAX = 1024, FGW_PRIORITIES_MAX = 16 };
/* What the key of consistentHash is taken from. */
enum fgw_hash_on { FGW_HASH_NONE = 0, FGW_HASH_HEADER = 1, FGW_HASH_COOKIE = 2, FGW_HASH_SOURCE_IP = 3, FGW_HASH_QUERY = 4 };
enum fgw_policy_flag {
    FGW_POLICY_OUTLIER = 1,      /* outlierDetection */
    FGW_POLICY_SPLIT_LOCAL = 2,  /* its splitExternalLocalOriginErrors */
    FGW_POLICY_GIVES_COOKIE = 4, /* a client without the cookie gets one (Q5) */
    FGW_POLICY_KEEPALIVE = 8,    /* tcpKeepalive */
};

enum { FGW_NO_SHARE = 0xffff };

/* What a DestinationRule asks for beyond the defaults. Limits: FGW_NONE is none. */
typedef struct fgw_img_policy {
    uint8_t flags;          /* set of enum fgw_policy_flag */
    uint8_t hash_on;        /* enum fgw_hash_on */
    uint8_t hash_header_id; /* enum fgw_header_id of hash_name under FGW_HASH_HEADER */
    uint8_t proxy_protocol; /* version of the PROXY header that begins a connection, 0 for none */
    uint8_t priorities;     /* levels that its endpoints have: 1 .. FGW_PRIORITIES_MAX */
    uint8_t max_ejection_percent;
    uint8_t min_health_percent; /* fewer usable endpoints than that: all count as usable (Q8) */
    uint8_t pad;
    fgw_span hash_name;   /* header in lower case, cookie or query parameter */
    fgw_span cookie_rest; /* of Set-Cookie: what follows the value */
    uint32_t max_connections;
    uint32_t max_pending; /* requests that wait for a connection */
    uint32_t max_requests;
    uint32_t max_retries;
    uint32_t max_requests_per_connection;
    uint32_t idle_timeout_ms;       /* of upstream connections without a request; FGW_NONE: the gateway's, 0: none */
    uint32_t max_connection_ms;     /* age of a connection; 0: none */
    uint32_t keepalive_time_s;      /* 0: the system's, as the next two */
    uint32_t keepalive_interval_s;
    uint32_t keepalive_probes;
    uint32_t consecutive_errors;         /* outlier detection: 0 never ejects, as the next two */
    uint32_t consecutive_gateway_errors; /* 502, 503, 504 */
    uint32_t consecutive_local_errors;   /* under FGW_POLICY_SPLIT_LOCAL */
    uint32_t outlier_interval_ms;
    uint32_t base_ejection_ms;
    uint32_t warmup_ms; /* slow start of new endpoints (Q15); 0: none */
    uint16_t warmup_curve[17]; /* thousandths of the weight at 0/16, 1/16, ... of that time */
    uint16_t retry_share; /* retryBudget, in hundredths of a per cent: max_retries is the least; FGW_NO_SHARE: none */
    uint16_t reserved[2];
    uint64_t error_codes[8]; /* bit n: an answer with status 100 + n is an error */
} fgw_img_policy;

/* A place on the ring of a cluster: keys up to `hash` that are above the point before it. */
typedef struct fgw_img_ring_point {
    uint32_t hash;
    uint32_t endpoint; /* among those of the cluster */
} fgw_img_ring_point;

typedef struct fgw_img_maglev_place {
    uint32_t endpoint; /* among those of the cluster */
} fgw_img_maglev_place;

enum fgw_family {
    FGW_FAMILY_UNIX = 1,
    FGW_FAMILY_NAME = 2, /* a name: stands for the addresses of the cluster's slot that refer to it, and is never picked itself */
    FGW_FAMILY_IPV4 = 4,
    FGW_FAMILY_IPV6 = 6,
};
enum fgw_endpoint_flag { FGW_ENDPOINT_UNHEALTHY = 1 /* known not ready: never picked */ };

typedef struct fgw_img_endpoint {
    uint8_t family;
    uint8_t flags;
    uint16_t port;
    uint32_t weight;  /* >= 1 */
    uint8_t priority; /* 0 is the best: endpoints of the next levels help out when too few are usable (Q7) */
    uint8_t reserved[3];
    uint8_t ip[16]; /* network order; IPv4 in the first four */
    uint32_t cell;  /* index of its cell in the state segment, the same in every generation; FGW_NONE: FGW_FAMILY_NAME */
    fgw_span path;  /* FGW_FAMILY_UNIX; FGW_FAMILY_NAME: the name */
} fgw_img_endpoint;

typedef struct fgw_img_regex {
    fgw_span pattern; /* RE2 syntax, matched against the whole text */
    fgw_span literal_prefix;
    uint32_t flags; /* 1: ignore case */
} fgw_img_regex;

/* --- read by the matcher only --- */

enum {
    FGW_HOST_MAX = 511,       /* longest domain of an image */
    FGW_GROUP_KEY_MAX = 1024, /* longest value a group holds */
    FGW_SLOT_INLINE = 40,
    FGW_LABEL_INLINE = 8,
    FGW_SINGLE = 0x80000000, /* in a list reference: the rest is a rule index, the list is that one rule */
};

/* Open addressing, linear probing from hash * count >> 32, at least one empty slot a table. One cache line each; a short key lies
 * in it, so a lookup costs one miss. */
typedef struct fgw_img_slot {
    uint32_t hash;
    uint32_t value; /* host tables: the vhost or chain; groups: a list reference; FGW_NONE marks an empty slot */
    uint32_t hint;  /* host tables: first rule of the vhost (fetched ahead); groups: 0 */
    uint32_t key_len;
    uint32_t key_off; /* in strings, when the key is longer than FGW_SLOT_INLINE */
    uint32_t reserved;
    uint8_t key[FGW_SLOT_INLINE];
} fgw_img_slot;

/* Radix trie over bytes, one cache line a node. The child for byte b is first_child + rank[b / 64] + the number of bits below b in
 * children[b / 64]; children come after their parent. `at_end` and `below` are list references: the rules whose path condition
 * holds for the path that ends here, and for every path that goes on from here and reaches no deeper node. */
typedef struct fgw_img_node {
    uint64_t children[4];
    uint8_t label[FGW_LABEL_INLINE]; /* bytes consumed on the way into this node, when they fit */
    uint32_t label_len;
    uint32_t label_off; /* in strings, when longer than FGW_LABEL_INLINE */
    uint8_t rank[4];
    uint32_t first_child;
    uint32_t below;
    uint32_t at_end;
} fgw_img_node;

/* A list reference is FGW_NONE, FGW_SINGLE | rule, or the index of a list. Candidates are in match order and cut after the first
 * that has no condition beyond the trie's. `next` goes on with the rules of shorter prefixes where merging them into every
 * list would make the image quadratic: the smallest rule index over the whole chain that matches wins. References only ever
 * go to smaller list indexes. */
typedef struct fgw_img_list {
    uint32_t first; /* candidates */
    uint32_t count;
    uint32_t group;     /* FGW_NONE without one */
    uint32_t regex_set; /* FGW_NONE, or the set whose members are the candidates of this list; lists may share one */
    uint32_t next;      /* list reference */
} fgw_img_list;

/* Candidates that all have a regex on the same text (the path, a header, a query parameter, ...), tried together in one pass over
 * it. A rule's path condition, or its first predicate on that text that is a regex and not inverted, is what the set decides. */
typedef struct fgw_img_regex_set {
    fgw_table members; /* candidates */
    uint8_t target;    /* enum fgw_predicate_target, up to FGW_ON_RAW_PATH */
    uint8_t header_id;
    uint16_t reserved;
    fgw_span name; /* the very span of the predicates */
} fgw_img_regex_set;

/* Rules of a list that differ in the exact value of one header or query parameter: value -> plain list (no group, no next). */
typedef struct fgw_img_group {
    uint8_t target; /* FGW_ON_HEADER, FGW_ON_QUERY */
    uint8_t header_id;
    uint16_t reserved;
    fgw_span name;
    fgw_table slots; /* fgw_hash_forward */
} fgw_img_group;

/* The hashes of the slot tables: over a whole key, and byte by byte from its end (all suffixes in one pass). */
uint32_t fgw_hash_forward(const char *p, size_t n);
uint32_t fgw_hash_backward(const char *p, size_t n);
/* Walk the whole image once: every offset, count, index and enum. Returns 1, or minus FGW_R_IMAGE_*. After it has
 * answered 1 no reader needs a bounds check. */
long fgw_image_check(const void *image, size_t n);
/* cffi:end */

#define FGW_IMAGE_MAGIC 0x4547414d49574746ull /* "FGWIMAGE" read as little-endian */

#endif
