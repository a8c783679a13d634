/* The state segment: one shared memory block of fixed-layout cells that outlives reloads, worker crashes and upgrades.
 * The supervisor makes it; workers map it read-write. 8-byte fields that several processes write are only touched with
 * atomics; fields of a worker's own stripe are written by that worker alone. */
#ifndef FGW_STATE_H
#define FGW_STATE_H
#include "base.h"

/* cffi:begin */
enum {
    FGW_STATE_VERSION = 10,
    FGW_STATE_WORKERS = 64,   /* worker slots at the most */
    FGW_STATE_CELLS = 262144, /* endpoint cells; the block is sparse, unused cells cost no memory */
    FGW_STATE_CLUSTERS = 131072,
    FGW_STATE_DNS_SLOTS = 16384,
    FGW_STATE_DNS_ADDRESSES = 128,
    FGW_STATE_SERIES = 8192, /* request series a worker can hold; the last one collects the overflow */
    FGW_STATE_TCP_SERIES = 1024, /* the same for connections that are relayed as bytes */
    FGW_STATE_BUCKETS = 20,  /* 19 bounds and +Inf (statement T8) */
    FGW_STATE_RATE_SLOTS = 4194304, /* buckets of rate limits at the most, see fgw_state.rate_slots */
    FGW_STATE_RATE_GROUP = 64,      /* a bucket is looked for in so many slots */
    FGW_STATE_RATE_LIMITS = 16384,
    FGW_STATE_COUNTERS = 256,
    FGW_STATE_REASONS = 128,
    FGW_STATE_LISTENERS = 1024, /* listeners whose connections are counted; others have no limit */
    FGW_STATE_HOLDERS = 65536,  /* places for source addresses that a worker has, in sets of FGW_HOLDER_WAYS */
    FGW_HOLDER_WAYS = 8,
};

/* Counters and gauges of a worker. Names in Prometheus: supervisor/metrics. Gauges are zeroed when a worker starts. */
enum fgw_counter {
    FGW_C_CLIENT_CONNECTIONS = 0, /* accepted */
    FGW_C_CLIENT_CONNECTIONS_CLOSED,
    FGW_C_CLIENT_REQUESTS,
    FGW_C_CLIENT_BYTES_IN,
    FGW_C_CLIENT_BYTES_OUT,
    FGW_C_UPSTREAM_CONNECTS,
    FGW_C_UPSTREAM_CONNECT_FAILURES,
    FGW_C_UPSTREAM_CONNECT_TIMEOUTS,
    FGW_C_UPSTREAM_CLOSED,
    FGW_C_UPSTREAM_REQUESTS,
    FGW_C_UPSTREAM_REUSED, /* requests sent on a pooled connection */
    FGW_C_UPSTREAM_RETRIES,
    FGW_C_UPSTREAM_BYTES_IN,
    FGW_C_UPSTREAM_BYTES_OUT,
    FGW_C_ACCEPT_ERRORS,
    FGW_C_ACCEPT_PAUSED, /* times accepting was paused */
    FGW_C_STALE_EVENTS,
    FGW_C_BUGS, /* exceptions caught in the loop's dispatch */
    FGW_C_IMAGES_ATTACHED,
    FGW_C_LOG_LINES,
    FGW_C_LOG_DROPPED,
    FGW_C_LENIENT_LF_IN_HEAD,
    FGW_C_LENIENT_FRAGMENT,
    FGW_C_LENIENT_EQUAL_LENGTHS,
    FGW_C_LENIENT_ABSOLUTE_HOST,
    FGW_C_UNDERSCORE_FIELDS_DROPPED,
    FGW_C_CLIENT_TIMEOUTS_HEAD,
    FGW_C_CLIENT_TIMEOUTS_IDLE,
    FGW_C_CLIENT_TIMEOUTS_BODY,
    FGW_C_CLIENT_TIMEOUTS_WRITE,
    FGW_C_UPSTREAM_TIMEOUTS,
    FGW_C_TLS_HANDSHAKES, /* with clients, completed; resumed ones included */
    FGW_C_TLS_RESUMED,
    FGW_C_TLS_FAILED,    /* handshakes that failed or were given up */
    FGW_C_TLS_NO_CHAIN,  /* hellos whose server name no chain takes */
    FGW_C_HELLO_REFUSED, /* what should have been a TLS hello and was not, see fgw_rejected for the reason */
    FGW_C_HELLO_TIMEOUTS,
    FGW_C_TLS_TIMEOUTS, /* handshakes that took too long */
    FGW_C_MISDIRECTED,  /* requests for a host of another server, answered 421 */
    FGW_C_TUNNELS,      /* connections relayed as bytes */
    FGW_C_TUNNEL_TIMEOUTS,
    FGW_C_UPSTREAM_TLS_HANDSHAKES,
    FGW_C_UPSTREAM_TLS_RESUMED,
    FGW_C_UPSTREAM_TLS_FAILED,
    FGW_C_WEBSOCKETS,      /* opened */
    FGW_C_STREAM_TIMEOUTS, /* answers and WebSockets cut because not a byte moved for too long */
    FGW_C_OVERFLOW_CONNECTIONS, /* requests that had to wait, or connections refused, for maxConnections */
    FGW_C_OVERFLOW_PENDING,     /* requests refused by http1MaxPendingRequests */
    FGW_C_OVERFLOW_REQUESTS,    /* by http2MaxRequests */
    FGW_C_OVERFLOW_RETRIES,     /* retries not made because of maxRetries or the budget */
    FGW_C_OVERFLOW_TIMEOUTS,    /* requests that waited in vain for a connection */
    FGW_C_EJECTIONS,            /* endpoints ejected by outlier detection */
    FGW_C_EJECTIONS_REFUSED,    /* not ejected because of maxEjectionPercent */
    FGW_C_FAULT_DELAYS,  /* requests that a route delayed */
    FGW_C_FAULT_ABORTS,  /* and those it aborted */
    FGW_C_MIRRORED,      /* copies of requests that were sent to mirrors */
    FGW_C_MIRRORS_LOST,  /* copies not made, or not finished, so as not to hold anything up */
    FGW_C_HTTP2_CONNECTIONS,    /* with clients */
    FGW_C_PROXY_HEADERS,        /* connections that a proxy in front has told about */
    FGW_C_SOURCES_DENIED,       /* requests and connections of clients that a list keeps out */
    FGW_C_BODIES_REFUSED,       /* requests with a body that is too large for their route */
    FGW_C_SHED_DELAY,    /* new requests refused because events waited too long for the loop */
    FGW_C_SHED_MEMORY,   /* and for want of memory */
    FGW_C_SHED_STREAMS,  /* streams reset for want of memory */
    FGW_C_HANDSHAKES_DEFERRED, /* turns that left connections to a TLS listener in the kernel's queue */
    FGW_C_MEMORY_STEPS,  /* times each step began: four counters */
    FGW_C_MEMORY_STEP_PART,
    FGW_C_MEMORY_STEP_REFUSE,
    FGW_C_MEMORY_STEP_RESET,
    FGW_C_HOLDERS_UNCOUNTED,    /* connections let in although their source address could not be counted */
    FGW_C_SHED_UPSTREAM_IDLE,   /* idle connections to upstreams closed for want of memory */
    FGW_C_COUNTERS_END,
    /* gauges */
    FGW_G_CLIENT_ACTIVE = 192,
    FGW_G_UPSTREAM_ACTIVE,
    FGW_G_UPSTREAM_IDLE,
    FGW_G_EXCHANGES_ACTIVE,
    FGW_G_BUFFER_BYTES,
    FGW_G_IMAGES_ALIVE,
    FGW_G_TIMERS_ALIVE,
    FGW_G_LOOP_LAG_US,
    FGW_G_TUNNELS_ACTIVE,
    FGW_G_TLS_CONTEXTS,   /* loaded */
    FGW_G_TLS_HANDSHAKING,
    FGW_G_WEBSOCKETS_ACTIVE,
    FGW_G_LISTENERS_FULL, /* listening sockets that wait for one of their listener's connections to end */
    FGW_G_ACCEPT_HELD, /* bits: why the worker accepts nothing (admission.pxd: enum Hold) */
    FGW_G_DESCRIPTORS, /* in use */
    FGW_G_MEMORY_BYTES,  /* private memory of the worker */
    FGW_G_MEMORY_BUDGET, /* of that; 0: none */
    FGW_G_MEMORY_STEP,   /* enum fgw_memory_step */
    FGW_G_HTTP2_BYTES,   /* of frame layers */
    FGW_G_TLS_BYTES,     /* of TLS sessions, about */
    FGW_G_LOOP_DELAY_US, /* the shortest that events waited in the last interval of the shedder */
    FGW_G_SHED_SHARE,    /* of new requests that are refused, in FGW_SHEDDER_ALL */
    FGW_G_END,
};

enum fgw_cell_flag { FGW_CELL_EJECTED = 1, FGW_CELL_UNHEALTHY = 2 };

/* One endpoint of one cluster, shared by all workers; all of it is touched with atomics. Times: CLOCK_MONOTONIC. */
typedef struct fgw_cell {
    uint32_t active; /* requests in flight from all workers */
    uint32_t flags;  /* enum fgw_cell_flag */
    uint32_t errors_in_a_row;
    uint32_t gateway_errors_in_a_row;
    uint64_t requests;
    uint64_t failures; /* connect failures and resets */
    uint32_t local_errors_in_a_row;
    uint32_t ejections;        /* what the next ejection's time is multiplied by, less one; fades while it is not ejected */
    uint64_t ejected_until_ms; /* FGW_CELL_EJECTED ends then: whoever sees it first takes the flag away */
    uint64_t warm_from_ms;     /* when the endpoint was first seen by a cluster with warmup, 0 before */
    uint64_t pad;
} fgw_cell;

/* What one worker has of a cluster, and what all have together: for the limits of connectionPool. Only clusters with such a
 * limit are counted. */
typedef struct fgw_share {
    uint32_t connections;
    uint32_t pending; /* requests that have no connection yet */
    uint32_t requests;
    uint32_t retries;
} fgw_share;

typedef struct fgw_cluster_state {
    fgw_share all;           /* atomics */
    uint64_t eject_lease_ms; /* who put a time in here may eject an endpoint of the cluster until then */
    uint64_t overflows;      /* requests refused by a limit */
    uint64_t ejections;
    uint64_t pad[3];
} fgw_cluster_state;

/* One address that a name of a cluster has. */
typedef struct fgw_dns_address {
    uint8_t family;   /* enum fgw_family */
    uint8_t priority; /* levels below that of its name; other than 0 only where the image reckons with it (SRV records) */
    uint16_t port;
    uint32_t weight; /* >= 1 */
    uint32_t cell;
    uint32_t endpoint; /* place of the name among the cluster's endpoints; an image that is older or newer may have another there */
    uint8_t ip[16];
} fgw_dns_address;

enum fgw_dns_status { FGW_DNS_UNKNOWN = 0 /* not asked yet */, FGW_DNS_OK = 1, FGW_DNS_FAILED = 2 };

/* Addresses of all names of one cluster. Written by the supervisor under a sequence lock: odd while it writes. */
typedef struct fgw_dns_slot {
    uint32_t sequence;
    uint32_t status; /* FGW_DNS_OK when any of the names has an answer */
    uint32_t count;
    uint32_t reserved;
    fgw_dns_address addresses[FGW_STATE_DNS_ADDRESSES];
} fgw_dns_slot;

/* Requests of one label set. key: 0 is free; see fgw_series_key(). Written by its worker alone; key last, with release. */
typedef struct fgw_series {
    uint64_t key;
    uint64_t requests;
    uint64_t duration_us_sum;
    uint64_t request_bytes_sum;
    uint64_t response_bytes_sum;
    uint64_t duration[FGW_STATE_BUCKETS];
    uint64_t request_bytes[FGW_STATE_BUCKETS];
    uint64_t response_bytes[FGW_STATE_BUCKETS];
} fgw_series;

/* Relayed connections of one label set: metric_id and response flags (fgw_series_key with status and protocol 0). */
typedef struct fgw_tcp_series {
    uint64_t key;
    uint64_t opened;
    uint64_t closed;
    uint64_t sent_bytes;     /* to clients */
    uint64_t received_bytes; /* from clients */
} fgw_tcp_series;

/* One bucket of a rate limit, shared by all workers; see rate.h. A time in the past is a full bucket: the slot is free. */
typedef struct fgw_rate_slot {
    uint64_t until_ns; /* CLOCK_MONOTONIC: when the bucket is full again, if nothing is taken from it */
    uint64_t key;      /* 0: never used */
} fgw_rate_slot;

/* Requests that a rate limit has been asked about; atomics. */
typedef struct fgw_rate_counts {
    uint64_t allowed;
    uint64_t limited;
} fgw_rate_counts;

/* Client connections of one listener, of all workers together. The key, of its name, stays for the life of the segment. */
typedef struct fgw_listener_state {
    uint64_t key; /* 0: free */
    uint32_t connections; /* atomic */
    uint32_t reserved;
} fgw_listener_state;

/* Client connections of one worker from one source address at one listener; a place with none is free. */
typedef struct fgw_holder {
    uint64_t key;
    uint32_t connections;
    uint32_t reserved;
} fgw_holder;

typedef struct fgw_worker_state {
    uint64_t heartbeat_ns; /* CLOCK_MONOTONIC of the last turn */
    uint64_t generation;   /* of the image in use */
    uint32_t pid;
    uint32_t draining;
    uint64_t counters[FGW_STATE_COUNTERS]; /* index: enum fgw_counter */
    uint64_t rejected[FGW_STATE_REASONS];  /* index: enum fgw_reason */
    fgw_series series[FGW_STATE_SERIES];
    fgw_tcp_series tcp_series[FGW_STATE_TCP_SERIES];
    uint32_t active[FGW_STATE_CELLS]; /* this worker's share of fgw_cell.active, taken off when it dies */
    fgw_share shares[FGW_STATE_CLUSTERS]; /* the same of fgw_cluster_state.all */
    uint32_t shares_used;             /* those before this one may be other than 0 */
    uint32_t holders_used;            /* 0: no source address has been counted yet */
    uint32_t listener_connections[FGW_STATE_LISTENERS]; /* this worker's share of fgw_listener_state.connections */
    fgw_holder holders[FGW_STATE_HOLDERS];              /* read by all, written by this worker alone */
} fgw_worker_state;

typedef struct fgw_state {
    uint64_t magic; /* "FGWSTATE" */
    uint32_t version;
    uint32_t worker_slots;
    uint64_t total_bytes;
    uint64_t memory_limit;   /* of the control group, 0: none that counts; these three are the supervisor's */
    uint64_t memory_used;    /* in it, without what the kernel can drop */
    uint64_t memory_read_ms; /* CLOCK_MONOTONIC */
    uint64_t rate_seed[2];    /* random: what clients send must not tell which buckets share a slot */
    uint32_t rate_slots;      /* of rate[] that are used: a power of two, FGW_STATE_RATE_GROUP at the least */
    uint32_t reserved32;
    uint64_t rate_unlimited;  /* requests let through because there was no slot for their bucket */
    uint64_t holder_seed;     /* of the keys of source addresses; 0: none has been chosen yet */
    uint64_t memory_sockets;  /* of memory_used, in the kernel's buffers of connections, as far as it says */
    uint64_t holder_lock;     /* among those who ask for the last connections of an address: odd while held */
    uint64_t reserved[3];
    fgw_cell cells[FGW_STATE_CELLS];
    fgw_cluster_state clusters[FGW_STATE_CLUSTERS];
    fgw_dns_slot dns[FGW_STATE_DNS_SLOTS];
    fgw_rate_counts rate_counts[FGW_STATE_RATE_LIMITS];
    uint64_t rate_locks[FGW_STATE_RATE_SLOTS / FGW_STATE_RATE_GROUP]; /* of the groups, for new buckets: odd while held */
    fgw_rate_slot rate[FGW_STATE_RATE_SLOTS];
    fgw_listener_state listeners[FGW_STATE_LISTENERS];
    fgw_worker_state workers[]; /* worker_slots of them */
} fgw_state;

/* Label sets of the request metrics: metric_id (of the cluster, 0 = "unknown"), status, response flags (bit set, enum fgw_flag),
 * protocol. */
enum fgw_flag {
    FGW_F_NR = 1,
    FGW_F_NC = 2,
    FGW_F_UH = 4,
    FGW_F_UF = 8,
    FGW_F_UC = 16,
    FGW_F_UT = 32,
    FGW_F_UO = 64,
    FGW_F_DC = 128,
    FGW_F_DPE = 256,
    FGW_F_UPE = 512,
    FGW_F_URX = 1024,
    FGW_F_SI = 2048,
    FGW_F_DI = 4096,
    FGW_F_FI = 8192,
    FGW_F_UR = 16384,
    FGW_F_OM = 32768,
    FGW_F_RL = 65536,
};

enum fgw_series_protocol { FGW_PROTOCOL_TCP = 0, FGW_PROTOCOL_HTTP = 1, FGW_PROTOCOL_GRPC = 2 };

/* metric_id: 27 bits. */
uint64_t fgw_series_key(uint32_t metric_id, uint32_t status, uint32_t flags, uint32_t protocol);
/* The same of a gRPC call with this grpc-status; -1: it had none. */
uint64_t fgw_series_key_grpc(uint64_t key, int grpc_status);
/* Index of the histogram bucket for a value in the unit of the bounds (ms or bytes): bounds 0.5 1 5 10 25 50 100 250 500 1000 2500
 * 5000 10000 30000 60000 300000 600000 1800000 3600000, the last is +Inf. */
int fgw_bucket_of_us(uint64_t us);
int fgw_bucket_of_bytes(uint64_t n);
/* The series of this key in a worker's stripe, made when new; the overflow series when the table is full. */
fgw_series *fgw_series_of(fgw_worker_state *w, uint64_t key);
/* The same for relayed connections. */
fgw_tcp_series *fgw_tcp_series_of(fgw_worker_state *w, uint64_t key);
/* Count one finished request. */
void fgw_series_add(fgw_series *s, uint64_t duration_us, uint64_t request_bytes, uint64_t response_bytes);
uint64_t fgw_state_bytes(uint32_t worker_slots);
/* Shape a zeroed block. */
void fgw_state_init(fgw_state *s, uint32_t worker_slots);
/* Sequence-locked copy of a slot, of its `count` addresses; returns its status. */
int fgw_dns_read(const fgw_dns_slot *slot, fgw_dns_slot *out);
void fgw_dns_write(fgw_dns_slot *slot, const fgw_dns_slot *in);
/* Set or take away flags of a cell (enum fgw_cell_flag), and none but these. */
void fgw_cell_mark(fgw_cell *cell, uint32_t flags, int on);
/* Take a dead worker's requests in flight off the shared cells, and zero its gauges. */
void fgw_state_forget_worker(fgw_state *s, uint32_t worker);
/* cffi:end */

#define FGW_STATE_MAGIC 0x4554415453574746ull /* "FGWSTATE" */

#endif
