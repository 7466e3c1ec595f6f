/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * An echo server whose connections are set up and ended by the card, if there is one.
 *
 *	cc -Wall -Wextra -I include/uapi -o listener userspace-tools/examples/c/listener.c
 *	./listener 7777
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/acceltcp.h>

/* Asks for the card. Without it everything works all the same, on the host. */
static void ask(int fd)
{
	__u32 offload = ACCELTCP_OFFLOAD_SETUP | ACCELTCP_OFFLOAD_DEFER |
			ACCELTCP_OFFLOAD_TEARDOWN;

	if (setsockopt(fd, SOL_TCP, TCP_ULP, "acceltcp", strlen("acceltcp")))
		perror("TCP_ULP");
	else if (setsockopt(fd, SOL_ACCELTCP, ACCELTCP_OFFLOAD, &offload,
			    sizeof(offload)))
		perror("ACCELTCP_OFFLOAD");
}

/* The card is told of a listener shortly after listen(): PENDING is usual here. */
static void print_status(int fd)
{
	struct acceltcp_status status;
	socklen_t len = sizeof(status);

	if (getsockopt(fd, SOL_ACCELTCP, ACCELTCP_STATUS, &status, &len))
		printf("the host sets connections up: %s\n", strerror(errno));
	else if (status.reason == ACCELTCP_REASON_NONE)
		printf("the card sets connections up, rules: %u\n", status.rules);
	else
		printf("the host sets connections up, reason %u\n", status.reason);
}

static int listen_at(unsigned short port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_ANY),
	};
	socklen_t len = sizeof(address);
	int fd, on = 1;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		return -1;
	ask(fd);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(fd, SOMAXCONN) ||
	    getsockname(fd, (struct sockaddr *)&address, &len)) {
		close(fd);
		return -1;
	}
	printf("port %u\n", ntohs(address.sin_port));
	return fd;
}

/* Gives back what comes until the client closes. close() hands the rest to the card. */
static void echo(int fd)
{
	char bytes[4096];
	ssize_t got, sent, done;

	while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		for (done = 0; done < got; done += sent) {
			sent = send(fd, bytes + done, got - done, MSG_NOSIGNAL);
			if (sent < 0)
				goto out;
		}
	}
out:
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned long port;
	int listener, fd;
	char *end;

	port = strtoul(argc == 2 ? argv[1] : "", &end, 10);
	if (argc != 2 || *end || end == argv[1] || port > 65535) {
		fprintf(stderr, "usage: %s PORT\n", argv[0]);
		return 2;
	}
	listener = listen_at(port);
	if (listener < 0) {
		perror(argv[1]);
		return 1;
	}
	print_status(listener);
	fflush(stdout);
	for (;;) {
		fd = accept(listener, NULL, NULL);
		if (fd >= 0)
			echo(fd);
		else if (errno != EINTR && errno != ECONNABORTED)
			break;
	}
	perror("accept");
	return 1;
}
