package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"keylend.dev/e2e/cluster/internal/host"
)

// Run becomes the command, inside the cluster's network and with its kubectl and helm first in the search path.
// It returns only on failure.
func (c Cluster) Run(command []string) error {
	runtime.LockOSThread()
	if err := c.enter(); err != nil {
		return err
	}
	environment := c.environment(os.Environ())
	if err := os.Setenv("PATH", c.searchPath()); err != nil {
		return fmt.Errorf("setting search path: %w", err)
	}
	program, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Errorf("finding command: %w", err)
	}
	return fmt.Errorf("starting %s: %w", program, syscall.Exec(program, command, environment))
}

// Reenter starts this very program again inside the cluster's network, unless it is there already.
func (c Cluster) Reenter() error {
	here, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("reading own network namespace: %w", err)
	}
	there, err := os.Stat(host.NamespacePath(c.Namespace()))
	if err != nil {
		return c.notUp(err)
	}
	if os.SameFile(here, there) {
		return nil
	}
	runtime.LockOSThread()
	if err := c.enter(); err != nil {
		return err
	}
	return fmt.Errorf("starting again: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}

func (c Cluster) enter() error {
	if err := host.EnterNamespace(c.Namespace()); err != nil {
		return c.notUp(err)
	}
	return nil
}

func (c Cluster) notUp(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cluster %s is not up", c.name)
	}
	return err
}

func (c Cluster) searchPath() string { return c.Bin() + ":" + os.Getenv("PATH") }

// environment is what a command sees: the caller's, less the proxies, which nothing in there can reach.
func (c Cluster) environment(callers []string) []string {
	replaced := []string{"KUBECONFIG", "PATH", "KEYLEND_CLUSTER", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
	kept := slices.DeleteFunc(slices.Clone(callers), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(replaced, strings.ToUpper(name))
	})
	return append(kept, "KUBECONFIG="+c.Kubeconfig(), "PATH="+c.searchPath(), "KEYLEND_CLUSTER="+c.name)
}
