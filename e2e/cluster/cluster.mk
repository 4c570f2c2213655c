# The test cluster: a real Kubernetes on this machine, without Docker. Included by the root Makefile.
# Needs root, Go and make; installs and builds all else.

CLUSTER_DIR := $(dir $(lastword $(MAKEFILE_LIST)))
KEYLEND_CACHE ?= $(HOME)/.cache/keylend
CLUSTER := $(KEYLEND_CACHE)/bin/keylend-cluster
NAME ?= keylend

.PHONY: cluster-packages cluster-tools cluster-up cluster-down cluster-test

# What the distribution has to provide, each with a file that shows that it is there.
CLUSTER_PACKAGES := containerd:/usr/bin/containerd runc:/usr/*bin/runc containernetworking-plugins:/usr/lib/cni/bridge \
	nftables:/usr/sbin/nft tcpdump:/usr/*bin/tcpdump iproute2:/usr/*bin/ip strace:/usr/bin/strace \
	ca-certificates:/etc/ssl/certs/ca-certificates.crt curl:/usr/bin/curl nginx:/usr/sbin/nginx
CLUSTER_MISSING = $(foreach each,$(CLUSTER_PACKAGES),$(if $(wildcard $(word 2,$(subst :, ,$(each)))),,$(word 1,$(subst :, ,$(each)))))

cluster-packages: ## Install the distribution's packages that the cluster and the tests stand on, where they are missing
	$(if $(strip $(CLUSTER_MISSING)),apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(CLUSTER_MISSING),@true)

cluster-tools: cluster-packages ## Build Kubernetes, Helm and CoreDNS into the cache (about eight minutes, once)
	@cd $(CLUSTER_DIR) && KEYLEND_CACHE=$(KEYLEND_CACHE) go run ./cmd/tools

cluster-up: cluster-tools ## Bring up the cluster NAME (keylend)
	@$(CLUSTER) up --name $(NAME)

cluster-down: ## Take down the cluster NAME (keylend); nothing of it is left
	@$(CLUSTER) down --name $(NAME)

cluster-test: cluster-tools ## Show that the cluster comes up, goes down and survives crashes
	@cd $(CLUSTER_DIR) && KEYLEND_CACHE=$(KEYLEND_CACHE) go test -count=1 -timeout=10m ./...
