# Build, test, run and install vethwork; `make` says what there is.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
DATADIR ?= $(PREFIX)/share
DESTDIR ?=

# Where rustup puts cargo, also in a shell that has not read its profile yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)

BINARY := target/release/vethwork
SHARE := target/release/share
UNITS := vethwork.service vethwork.socket

.DEFAULT_GOAL := help
.PHONY: help build test test-unit test-root lint bench demo demo-cluster install uninstall deb test-deb clean FORCE

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\ninstall goes below PREFIX (%s), staged in DESTDIR where that is set\n' '$(PREFIX)'

build: $(BINARY) ## build target/release/vethwork

# Cargo knows what is up to date.
$(BINARY): FORCE
	cargo build --locked --release -p vethwork

test: ## run every test; as root, else those that need it are skipped
	scripts/run-tests all

test-unit: ## run the crates' own tests
	scripts/run-tests unit

test-root: ## run the namespace, peer and fault tests, as root
	scripts/run-tests root

lint: ## check format, lints, architecture and licences
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo xtask check
	cargo deny --locked check licenses bans sources

bench: build ## measure against the peers on this machine, as root
	cargo run --locked --release -p vw-benches

demo: ## show it all in a namespace of its own, as root; leaves nothing behind
	scripts/demo

demo-cluster: ## show one network over three hosts and a real etcd, as root; leaves nothing behind
	scripts/demo-cluster

# Completions and manual pages are what the binary says of itself.
$(SHARE): $(BINARY) packaging/generate
	packaging/generate $(BINARY) $@
	@touch $@

install: $(BINARY) $(SHARE) ## install the binary, units, completions and manual pages
	install -D -m 0755 $(BINARY) $(DESTDIR)$(BINDIR)/vethwork
	for unit in $(UNITS); do \
	    install -d $(DESTDIR)$(UNITDIR) && \
	    sed 's,@bindir@,$(BINDIR),' packaging/systemd/$$unit >$(DESTDIR)$(UNITDIR)/$$unit && \
	    chmod 0644 $(DESTDIR)$(UNITDIR)/$$unit || exit 1; \
	done
	install -D -m 0644 packaging/systemd/vethwork.sysusers $(DESTDIR)$(SYSUSERSDIR)/vethwork.conf
	cd $(SHARE) && find . -type f -exec install -D -m 0644 {} $(DESTDIR)$(abspath $(DATADIR))/{} \;

uninstall: ## remove what install put there; data and networks stay
	rm -f $(DESTDIR)$(BINDIR)/vethwork $(DESTDIR)$(SYSUSERSDIR)/vethwork.conf
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,$(UNITS))
	rm -f $(DESTDIR)$(DATADIR)/bash-completion/completions/vethwork
	rm -f $(DESTDIR)$(DATADIR)/zsh/site-functions/_vethwork
	rm -f $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/vethwork.fish
	rm -f $(DESTDIR)$(DATADIR)/man/man1/vethwork.1.gz $(DESTDIR)$(DATADIR)/man/man1/vethwork-*.1.gz

deb: $(BINARY) $(SHARE) ## build a Debian package in target/deb
	packaging/deb/build

test-deb: deb ## install and purge the package in a copy of this machine's root, as root
	packaging/test-deb target/deb/vethwork_*.deb

clean: ## remove what was built
	cargo clean
