package cluster

import (
	"errors"
	"fmt"
	"os"

	"keylend.dev/e2e/cluster/internal/host"
)

// createNetwork makes the node's own network: a bridge for pods, and no way out.
func (c Cluster) createNetwork() error {
	if err := host.CreateNamespace(c.Namespace()); err != nil {
		return err
	}
	return host.InNamespace(c.Namespace(), func() error {
		for _, arguments := range [][]string{
			{"link", "set", "lo", "up"},
			{"link", "add", "pods", "type", "bridge"},
			{"address", "add", nodeAddress + "/24", "dev", "pods"},
			{"link", "set", "pods", "up"},
			{"route", "add", "default", "dev", "pods"},
		} {
			if err := host.Command("ip", arguments...); err != nil {
				return err
			}
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return fmt.Errorf("switching forwarding on: %w", err)
		}
		return filterBridge()
	})
}

// filterBridge lets the packet filter see what passes between two pods: an answer to a call through a Service
// has to be translated back even where caller and called share the bridge.
func filterBridge() error {
	if _, err := os.Stat("/proc/sys/net/bridge"); errors.Is(err, os.ErrNotExist) {
		return host.Command("modprobe", "br_netfilter")
	}
	return nil
}
