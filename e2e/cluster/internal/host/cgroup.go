package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroupFolders is the folder of the cgroup called name in every mounted hierarchy, of either version.
func cgroupFolders(name string) ([]string, error) {
	all, err := mounts()
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, mount := range all {
		if mount.kind == "cgroup" || mount.kind == "cgroup2" {
			folders = append(folders, filepath.Join(mount.point, name))
		}
	}
	return folders, nil
}

// CreateCgroup makes the cgroup called name in every hierarchy, with the controllers that kubelet insists on.
func CreateCgroup(name string) error {
	folders, err := cgroupFolders(name)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := delegate(filepath.Dir(folder)); err != nil {
			return err
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("making cgroup: %w", err)
		}
		if err := delegate(folder); err != nil {
			return err
		}
	}
	return nil
}

// delegated are the controllers that kubelet and runc account and limit with.
var delegated = []string{"cpu", "cpuset", "hugetlb", "io", "memory", "pids"}

// delegate hands a version 2 cgroup's controllers on to its children; version 1 has nothing to hand on.
func delegate(folder string) error {
	controllers, err := os.ReadFile(filepath.Join(folder, "cgroup.controllers"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading cgroup controllers: %w", err)
	}
	for _, controller := range strings.Fields(string(controllers)) {
		if !slices.Contains(delegated, controller) {
			continue
		}
		if err := os.WriteFile(filepath.Join(folder, "cgroup.subtree_control"), []byte("+"+controller), 0o644); err != nil {
			return fmt.Errorf("delegating cgroup controller %s: %w", controller, err)
		}
	}
	return nil
}

// CgroupProcesses are the processes in the cgroup called name and in all below it, in any hierarchy.
func CgroupProcesses(name string) ([]int, error) {
	var pids []int
	err := eachCgroup(name, func(folder string) error {
		text, err := os.ReadFile(filepath.Join(folder, "cgroup.procs"))
		if err != nil {
			return nil // it was removed meanwhile
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return fmt.Errorf("reading cgroup processes: %w", err)
			}
			pids = append(pids, pid)
		}
		return nil
	})
	slices.Sort(pids)
	return slices.Compact(pids), err
}

// RemoveCgroup removes the cgroup called name and all below it, in every hierarchy. The kernel keeps a cgroup
// busy for a moment after its last process was killed.
func RemoveCgroup(name string) error {
	var folders []string
	if err := eachCgroup(name, func(folder string) error {
		folders = append(folders, folder)
		return nil
	}); err != nil {
		return err
	}
	deadline := time.Now().Add(10 * time.Second)
	for _, folder := range slices.Backward(folders) {
		err := syscall.Rmdir(folder)
		for ; errors.Is(err, syscall.EBUSY) && time.Now().Before(deadline); err = syscall.Rmdir(folder) {
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("removing cgroup %s: %w", folder, err)
		}
	}
	return nil
}

// CgroupLeft are the folders of the cgroup called name that exist, one for each hierarchy.
func CgroupLeft(name string) ([]string, error) {
	folders, err := cgroupFolders(name)
	return slices.DeleteFunc(folders, func(folder string) bool {
		_, err := os.Stat(folder)
		return errors.Is(err, os.ErrNotExist)
	}), err
}

// eachCgroup visits the cgroup called name and all below it, parents first.
func eachCgroup(name string, visit func(folder string) error) error {
	roots, err := cgroupFolders(name)
	if err != nil {
		return err
	}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			if entry.IsDir() {
				return visit(path)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("walking cgroup %s: %w", root, err)
		}
	}
	return nil
}
