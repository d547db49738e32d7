/* The baseline: the same system calls from C, and nothing else. Input and output are those of worker.py. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SEND (MSG_NOSIGNAL | MSG_DONTWAIT)
#define RECEIVE (MSG_CMSG_CLOEXEC | MSG_DONTWAIT)

static int sender, receiver, file;

static char out_byte, in_byte, out_control[CMSG_SPACE(64 * sizeof(int))], in_control[2048];
static struct iovec out_vector = {&out_byte, 1}, in_vector = {&in_byte, 1};
static struct msghdr out = {.msg_iov = &out_vector, .msg_iovlen = 1, .msg_control = out_control};
static struct msghdr in = {.msg_iov = &in_vector, .msg_iovlen = 1, .msg_control = in_control};

static void *prepare(int type, size_t size)
{
    out.msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *header = CMSG_FIRSTHDR(&out);
    *header = (struct cmsghdr){.cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = type};
    return CMSG_DATA(header);
}

static void *receive(int type)
{
    in.msg_controllen = sizeof in_control;
    if (recvmsg(receiver, &in, RECEIVE) != 1)
        return NULL;
    struct cmsghdr *header = CMSG_FIRSTHDR(&in);
    return header && header->cmsg_type == type ? CMSG_DATA(header) : NULL;
}

static int pass_descriptors(int count)
{
    int *sent = prepare(SCM_RIGHTS, count * sizeof file);
    for (int i = 0; i < count; i++)
        sent[i] = file;
    if (sendmsg(sender, &out, SEND) != 1)
        return -1;
    int *received = receive(SCM_RIGHTS);
    for (int i = 0; i < count; i++)
        if (!received || close(received[i]) < 0)
            return -1;
    return 0;
}

static int pass_descriptor(void)
{
    return pass_descriptors(1);
}

static int pass_64(void)
{
    return pass_descriptors(64);
}

/* The three calls for SO_PASSCRED are those of Gio, which leaves the option as it was. */
static int pass_credentials(void)
{
    struct ucred own = {getpid(), geteuid(), getegid()};
    memcpy(prepare(SCM_CREDENTIALS, sizeof own), &own, sizeof own);
    if (sendmsg(sender, &out, SEND) != 1)
        return -1;
    int value;
    socklen_t length = sizeof value;
    if (getsockopt(receiver, SOL_SOCKET, SO_PASSCRED, &value, &length) < 0)
        return -1;
    value = 1;
    if (setsockopt(receiver, SOL_SOCKET, SO_PASSCRED, &value, sizeof value) < 0)
        return -1;
    struct ucred *received = receive(SCM_CREDENTIALS);
    if (!received || received->pid != own.pid)
        return -1;
    value = 0;
    return setsockopt(receiver, SOL_SOCKET, SO_PASSCRED, &value, sizeof value);
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 1;
    sender = pair[0], receiver = pair[1], file = open("/dev/null", O_RDONLY);
    setvbuf(stdout, NULL, _IOLBF, 0);
    static const struct {
        const char *name;
        int (*pass)(void);
    } operations[] = {
        {"descriptor", pass_descriptor},
        {"64", pass_64},
        {"64-close_fds", pass_64},
        {"credentials", pass_credentials},
    };
    const size_t known = sizeof operations / sizeof *operations;
    for (size_t i = 0; i < known; i++)
        printf("%s%c", operations[i].name, i + 1 < known ? '\t' : '\n');

    char operation[32];
    long times;
    while (scanf("%31s %ld", operation, &times) == 2) {
        int (*pass)(void) = NULL;
        for (size_t i = 0; i < known; i++)
            if (!strcmp(operation, operations[i].name))
                pass = operations[i].pass;
        if (!pass)
            return 3;
        double start = now();
        for (long i = 0; i < times; i++)
            if (pass() < 0)
                return 2;
        printf("%.9f\n", now() - start);
    }
    return 0;
}
