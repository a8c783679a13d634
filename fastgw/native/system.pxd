"""The system calls of the data plane (Linux)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.types cimport pid_t


cdef extern from "sys/epoll.h" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLRDHUP
        EPOLLHUP
        EPOLLERR
        EPOLLET
        EPOLL_CTL_ADD
        EPOLL_CTL_MOD
        EPOLL_CTL_DEL
        EPOLL_CLOEXEC

    ctypedef union epoll_data_t:
        uint64_t u64

    struct epoll_event:
        uint32_t events
        epoll_data_t data

    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event *event)
    int epoll_wait(int epfd, epoll_event *events, int maxevents, int timeout)


cdef extern from "sys/eventfd.h" nogil:
    enum:
        EFD_CLOEXEC
        EFD_NONBLOCK
    int eventfd(unsigned int value, int flags)


cdef extern from "errno.h" nogil:
    int errno
    enum:
        EAGAIN
        EINTR
        EINPROGRESS
        EMFILE
        ENFILE
        ENOBUFS
        ENOMEM
        ECONNRESET
        EPIPE
        EINVAL
        ENOSYS


cdef extern from "sys/socket.h" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr:
        unsigned short sa_family
    struct sockaddr_storage:
        unsigned short ss_family
    struct iovec_ "iovec":
        void *iov_base
        size_t iov_len
    struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec_ *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    struct linger_ "linger":
        int l_onoff
        int l_linger
    enum:
        AF_UNIX
        AF_INET
        AF_INET6
        SOCK_STREAM
        SOCK_NONBLOCK
        SOCK_CLOEXEC
        SOL_SOCKET
        SO_ERROR
        SO_LINGER
        SO_KEEPALIVE
        MSG_MORE
        MSG_NOSIGNAL
        MSG_DONTWAIT
        SHUT_WR
    ssize_t recv(int fd, void *buf, size_t n, int flags)
    ssize_t send(int fd, const void *buf, size_t n, int flags)
    ssize_t sendmsg(int fd, const msghdr *msg, int flags)
    int accept4(int fd, sockaddr *addr, socklen_t *n, int flags)
    int socket(int domain, int type, int protocol)
    int connect(int fd, const sockaddr *addr, socklen_t n)
    int shutdown(int fd, int how)
    int getsockopt(int fd, int level, int name, void *value, socklen_t *n)
    int setsockopt(int fd, int level, int name, const void *value, socklen_t n)
    int getsockname(int fd, sockaddr *addr, socklen_t *n)
    int getpeername(int fd, sockaddr *addr, socklen_t *n)


cdef extern from "netinet/in.h" nogil:
    enum:
        IPPROTO_TCP
        IPPROTO_IP
        IP_BIND_ADDRESS_NO_PORT
    struct in_addr:
        uint32_t s_addr
    struct in6_addr:
        unsigned char s6_addr[16]
    struct sockaddr_in:
        unsigned short sin_family
        unsigned short sin_port
        in_addr sin_addr
    struct sockaddr_in6:
        unsigned short sin6_family
        unsigned short sin6_port
        in6_addr sin6_addr


cdef extern from "sys/un.h" nogil:
    struct sockaddr_un:
        unsigned short sun_family
        char sun_path[108]


cdef extern from "netinet/tcp.h" nogil:
    enum:
        TCP_NODELAY
        TCP_QUICKACK
        TCP_USER_TIMEOUT
        TCP_KEEPIDLE
        TCP_KEEPINTVL
        TCP_KEEPCNT


cdef extern from "arpa/inet.h" nogil:
    const char *inet_ntop(int af, const void *src, char *dst, socklen_t n)
    int inet_pton(int af, const char *src, void *dst)
    unsigned short ntohs(unsigned short v)
    unsigned short htons(unsigned short v)


cdef extern from "unistd.h" nogil:
    int close(int fd)
    int pipe2(int ends[2], int flags)
    ssize_t write(int fd, const void *buf, size_t n)


cdef extern from "fcntl.h" nogil:
    int open(const char *path, int flags, ...)
    int fcntl(int fd, int command, ...)
    ssize_t splice(int fd_in, void *off_in, int fd_out, void *off_out, size_t n, unsigned int flags)
    enum:
        O_RDONLY
        O_CLOEXEC
        O_NONBLOCK
        F_SETPIPE_SZ
        F_GETPIPE_SZ
        SPLICE_F_MOVE
        SPLICE_F_NONBLOCK


cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    enum:
        POLLOUT
    int poll(pollfd *fds, unsigned long n, int timeout)


cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    enum:
        CLOCK_MONOTONIC
        CLOCK_REALTIME
    int clock_gettime(int clock, timespec *out)


cdef extern from "sys/random.h" nogil:
    ssize_t getrandom(void *buf, size_t n, unsigned int flags)


cdef extern from "sys/mman.h" nogil:
    enum:
        PROT_READ
        PROT_WRITE
        MAP_SHARED
        MAP_PRIVATE
        MAP_ANONYMOUS
        MADV_DONTDUMP
    void *mmap(void *addr, size_t n, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t n)
    int madvise(void *addr, size_t n, int advice)
    int mlock(const void *addr, size_t n)


cdef extern from *:
    """
    #define FGW_ATOMIC_ADD32(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
    #define FGW_ATOMIC_SUB32(p, v) __atomic_sub_fetch((p), (v), __ATOMIC_RELAXED)
    #define FGW_ATOMIC_LOAD32(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define FGW_ATOMIC_ADD64(p, v) __atomic_add_fetch((p), (v), __ATOMIC_RELAXED)
    #define FGW_STORE_RELEASE64(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    """
    uint32_t FGW_ATOMIC_ADD32(uint32_t *p, uint32_t v) nogil
    uint32_t FGW_ATOMIC_SUB32(uint32_t *p, uint32_t v) nogil
    uint32_t FGW_ATOMIC_LOAD32(const uint32_t *p) nogil
    uint64_t FGW_ATOMIC_ADD64(uint64_t *p, uint64_t v) nogil
    void FGW_STORE_RELEASE64(uint64_t *p, uint64_t v) nogil
