/* SPDX-License-Identifier: GPL-2.0-or-later (it is loaded into QEMU)
 *
 * The only thing of ours inside QEMU's process, preloaded into the unmodified binary. It answers
 * two questions that can only be answered there, over the socket that UNDERSTUDY_SHIM_FD names:
 *
 *   "uffd"        -> a userfaultfd of this address space, as SCM_RIGHTS; the daemon does the rest
 *   "block NAME"  -> the address of a RAM block, 8 bytes; 0 when there is none or QEMU does not say
 *
 * A refusal is one byte, the errno. The thread sleeps in recv otherwise and ends with its peer.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void refuse(int socket, int error) {
  const unsigned char code = (unsigned char)error;
  (void)send(socket, &code, 1, MSG_NOSIGNAL);
}

static void give_userfaultfd(int socket) {
  const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    refuse(socket, errno);
    return;
  }
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr aligned;
  } control;
  memset(&control, 0, sizeof control);
  char byte = 0;
  struct iovec content = {&byte, 1};
  struct msghdr message = {.msg_iov = &content,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
  struct cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  (void)sendmsg(socket, &message, MSG_NOSIGNAL);
  close(fd);
}

/* QEMU exports its functions for its own loadable modules; these two have kept their shape
 * since 2.x. The daemon asks while the machine is paused and no device is being plugged. */
static void give_block(int socket, const char* name) {
  void* (*by_name)(const char*) =
      (void* (*)(const char*))dlsym(RTLD_DEFAULT, "qemu_ram_block_by_name");
  void* (*host)(void*) = (void* (*)(void*))dlsym(RTLD_DEFAULT, "qemu_ram_get_host_addr");
  uint64_t address = 0;
  if (by_name && host) {
    void* block = by_name(name);
    if (block) address = (uint64_t)(uintptr_t)host(block);
  }
  (void)send(socket, &address, sizeof address, MSG_NOSIGNAL);
}

static void* serve(void* argument) {
  const int socket = (int)(intptr_t)argument;
  char request[512];
  ssize_t size;
  while ((size = recv(socket, request, sizeof request - 1, 0)) > 0) {
    request[size] = '\0';
    if (strcmp(request, "uffd") == 0) {
      give_userfaultfd(socket);
    } else if (strncmp(request, "block ", 6) == 0) {
      give_block(socket, request + 6);
    } else {
      refuse(socket, EINVAL);
    }
  }
  return NULL;
}

__attribute__((constructor)) static void start(void) {
  const char* number = getenv("UNDERSTUDY_SHIM_FD");
  if (!number) return;
  const int socket = atoi(number);
  unsetenv("UNDERSTUDY_SHIM_FD");
  unsetenv("LD_PRELOAD");
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* QEMU's signals are for QEMU's threads */
  pthread_t thread;
  if (pthread_create(&thread, NULL, serve, (void*)(intptr_t)socket) == 0) pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}
