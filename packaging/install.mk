# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Installation on this machine, and packages for others.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
export PREFIX SYSCONFDIR DESTDIR CARGO

.PHONY: install uninstall dkms_install deb

install:
	packaging/install

uninstall:
	packaging/install --uninstall

dkms_install:
	packaging/install --dkms

deb: $(LAB)
	@$(LAB) deb
