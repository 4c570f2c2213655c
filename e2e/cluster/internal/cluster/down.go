package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"keylend.dev/e2e/cluster/internal/host"
)

// Down takes the cluster down, whatever state it is in, and fails if anything of it is left.
func (c Cluster) Down() error {
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	if err := c.remove(); err != nil {
		return err
	}
	left, err := c.Leftovers()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("cluster %s is down, but this is left:\n%s", c.name, strings.Join(left, "\n"))
	}
	return nil
}

// remove is one way for a healthy cluster and for the ruins of one: it asks none of the cluster's programs for
// help. Our programs end before their containers, so that none is started again.
func (c Cluster) remove() error {
	sockets, err := c.shimSockets()
	if err != nil {
		return err
	}
	return firstError(
		func() error {
			return host.EndProcesses(func() ([]int, error) { return host.MarkedProcesses(c.mark()) })
		},
		func() error {
			return host.EndProcesses(func() ([]int, error) { return host.CgroupProcesses(c.cgroup()) })
		},
		func() error { return host.UnmountUnder(c.state) },
		func() error { return host.DeleteNamespace(c.Namespace()) },
		func() error { return host.RemoveCgroup(c.cgroup()) },
		func() error { return c.removeStrayFiles(sockets) },
		func() error { return os.RemoveAll(c.state) },
	)
}

// Leftovers names everything of this cluster that is on the machine, in the words of the tool that shows it.
func (c Cluster) Leftovers() ([]string, error) {
	marked, err := host.MarkedProcesses(c.mark())
	if err != nil {
		return nil, err
	}
	contained, err := host.CgroupProcesses(c.cgroup())
	if err != nil {
		return nil, err
	}
	mounts, err := host.MountsUnder(c.state)
	if err != nil {
		return nil, err
	}
	cgroups, err := host.CgroupLeft(c.cgroup())
	if err != nil {
		return nil, err
	}
	strays, err := c.strayFiles()
	if err != nil {
		return nil, err
	}
	var left []string
	for _, pid := range append(marked, contained...) {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	for kind, paths := range map[string][]string{
		"mount": mounts, "cgroup": cgroups, "file": append(strays, existing(host.NamespacePath(c.Namespace()), c.state)...),
	} {
		for _, path := range paths {
			left = append(left, kind+" "+path)
		}
	}
	slices.Sort(left)
	return left, nil
}

// shimSockets are the sockets of the cluster's containers, which containerd puts outside its own folders.
func (c Cluster) shimSockets() ([]string, error) {
	notes, err := filepath.Glob(filepath.Join(c.Paths().ContainerdState, "io.containerd.runtime.v2.task/*/*/address"))
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	var sockets []string
	for _, note := range notes {
		text, err := os.ReadFile(note)
		if err != nil {
			continue // the container ended meanwhile, and its socket with it
		}
		sockets = append(sockets, strings.TrimPrefix(strings.TrimSpace(string(text)), "unix://"))
	}
	return sockets, nil
}

// strayFiles are the files that kubelet and CNI insist on keeping in folders of the machine.
func (c Cluster) strayFiles() ([]string, error) {
	var strays []string
	results, err := filepath.Glob("/var/lib/cni/results/*")
	if err != nil {
		return nil, fmt.Errorf("listing CNI results: %w", err)
	}
	for _, result := range results {
		if text, err := os.ReadFile(result); err == nil && bytes.Contains(text, []byte(`"`+c.state+"/")) {
			strays = append(strays, result)
		}
	}
	links, err := filepath.Glob("/var/log/containers/*.log")
	if err != nil {
		return nil, fmt.Errorf("listing container logs: %w", err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, c.state+"/") {
			strays = append(strays, link)
		}
	}
	return strays, nil
}

func (c Cluster) removeStrayFiles(sockets []string) error {
	strays, err := c.strayFiles()
	if err != nil {
		return err
	}
	for _, stray := range append(strays, sockets...) {
		if err := os.Remove(stray); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing stray file: %w", err)
		}
	}
	return nil
}

func existing(paths ...string) []string {
	var found []string
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			found = append(found, path)
		}
	}
	return found
}
