# SPDX-License-Identifier: GPL-2.0 OR MIT
#
# Thin wrappers over the lab's program. kbuild reads Kbuild, not this file.

LAB       := build/bin/lab
BOOTSTRAP := userspace-tools/lab/bootstrap
CARGO     := $(shell $(BOOTSTRAP) --which cargo 2>/dev/null || echo cargo)

# A user's own prepared kernel tree; empty means the lab's.
KDIR ?=
MODULE_OUT := $(CURDIR)/build/module$(if $(KDIR),-kdir)
KBUILD_RUN = +$(MAKE) -C $(or $(KDIR),/lib/modules/$(shell uname -r)/build) M=$(CURDIR) MO=$(MODULE_OUT)

.PHONY: all build modules modules_install demo test test-long test-debug kunit bench shell setup check fmt clippy doc clean help $(LAB)

all: build

help:
	@echo 'AccelTCP for Linux'
	@echo
	@echo '  make                   build the module, the card and the tools (the lab is set up first)'
	@echo '  make demo              serve Redis in a virtual machine through the modelled card'
	@echo '  make test              run all tests; T="NAME..." runs some (globs are fine), V=1 shows the guest console'
	@echo '  make test-long         all long tests, and the unit tests with more orders of threads (hours)'
	@echo '  make test-debug        the same on a kernel that checks what the module does (built once, 10 to 25 minutes)'
	@echo '  make kunit             run the KUnit suites of the module on that kernel'
	@echo '  make bench             compare drivers and offloads'
	@echo '  make shell             a shell in the guest; "$(LAB) wire CMD" runs a command on the wire side'
	@echo '  make check             formatting, clippy and rustdoc, all warnings are errors'
	@echo '  make setup             only set the lab up: build root, kernel tree, upstream driver'
	@echo '  make modules           build the module only; KDIR=TREE builds against your own prepared tree'
	@echo '  make modules_install   install that module for the tree KDIR (default: the running kernel)'
	@echo '  make dkms_install      install the source of the module for DKMS'
	@echo '  make install           install the tool, its manual pages, unit and headers (PREFIX, DESTDIR); uninstall'
	@echo '  make deb               make Debian packages of all in build/deb'
	@echo '  make clean             remove build/ and target/'
	@echo
	@echo 'ARGS="..." is passed on to demo, bench and shell. "$(LAB) --help" lists what else the lab can do.'

# The lab's program builds everything else; cargo knows whether it is up to date itself.
$(LAB):
	@$(BOOTSTRAP)

build setup: $(LAB)
	@$(LAB) $@

demo bench shell: $(LAB)
	@$(LAB) $@ $(ARGS)

test: $(LAB)
	@$(LAB) test $(if $(V),--verbose) $(if $(AGAIN),--again $(AGAIN)) $(T)

test-long: $(LAB)
	@LOOM_MAX_PREEMPTIONS=3 $(LAB) test $(if $(V),--verbose) unit $(or $(T),'long-*')

test-debug: $(LAB)
	@$(LAB) test --kernel debug $(if $(V),--verbose) $(if $(AGAIN),--again $(AGAIN)) $(T)

kunit: $(LAB)
	@$(LAB) kunit

ifeq ($(KDIR),)
modules: $(LAB)
	@$(LAB) build
else
modules:
	@mkdir -p $(MODULE_OUT)
	$(KBUILD_RUN) modules
endif

modules_install:
	$(KBUILD_RUN) modules_install

include packaging/install.mk

check: fmt clippy doc

fmt:
	@$(BOOTSTRAP) --for-check
	$(CARGO) fmt --all --check
	rustfmt --check --edition 2021 rust/acceltcp.rs rust/agilio/*.rs rust/control/*.rs rust/net/*.rs \
		rust/offload/*.rs

clippy:
	@$(BOOTSTRAP) --for-check
	$(CARGO) clippy --workspace --all-targets --locked --target-dir target -- -D warnings

doc:
	@$(BOOTSTRAP) --for-check
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked --target-dir target

# The program looks for mounts and running sessions; without it only mounts can be there.
clean:
	@if [ -x $(LAB) ]; then $(LAB) clean; \
	elif grep -qF ' $(CURDIR)/build/' /proc/self/mountinfo; then \
		echo 'something is mounted below build/: nothing was removed' >&2; exit 1; \
	else rm -rf --one-file-system build target; fi
