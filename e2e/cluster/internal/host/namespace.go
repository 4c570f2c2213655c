// Package host is the little of Linux that the cluster stands on: network namespaces, processes, mounts, cgroups.
//
// It promises that everything it ends, unmounts or removes is named by its caller exactly; it must never act on
// a pattern wider than one cluster.
package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// NamespacePath is where iproute2 keeps the network namespace called name.
func NamespacePath(name string) string { return filepath.Join("/run/netns", name) }

// CreateNamespace makes the network namespace called name.
func CreateNamespace(name string) error { return Command("ip", "netns", "add", name) }

// DeleteNamespace removes the network namespace called name; that it is gone already is no error.
func DeleteNamespace(name string) error {
	if _, err := os.Stat(NamespacePath(name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return Command("ip", "netns", "delete", name)
}

// EnterNamespace moves the calling thread, which must be locked, into the network namespace called name.
// Only the network changes: remounting /sys as `ip netns exec` does would hide the cgroups from kubelet.
func EnterNamespace(name string) error {
	namespace, err := os.Open(NamespacePath(name))
	if err != nil {
		return fmt.Errorf("opening network namespace: %w", err)
	}
	defer func() { _ = namespace.Close() }()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering network namespace %s: %w", name, err)
	}
	return nil
}

// InNamespace runs work on a thread of its own inside the network namespace called name. Processes that work
// starts are born in the namespace.
func InNamespace(name string, work func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine, still inside the namespace
		if err := EnterNamespace(name); err != nil {
			done <- err
			return
		}
		done <- work()
	}()
	return <-done
}

// Command runs a program to its end; what it printed is part of the error.
func Command(name string, arguments ...string) error {
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, arguments, err, output)
	}
	return nil
}
