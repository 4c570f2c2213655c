package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"keylend.dev/e2e/cluster/internal/host"
)

// Auditing says whether the API server writes an audit log.
type Auditing string

// A cluster either writes an audit log or does not.
const (
	WithoutAudit Auditing = "off"
	WithAudit    Auditing = "on"
)

// Progress is told what is being done, a line at a time.
type Progress func(line string)

// Up brings the cluster up, unless it is up already. What an earlier, crashed run left is removed first.
func (c Cluster) Up(auditing Auditing, progress Progress) error {
	release, err := c.lock()
	if err != nil {
		return err
	}
	defer release()
	up, err := c.isUp(auditing)
	if err != nil {
		return err
	}
	if up {
		progress(fmt.Sprintf("cluster %s is already up", c.name))
		return c.recycleVolumes(progress)
	}
	left, err := c.Leftovers()
	if err != nil {
		return err
	}
	if len(left) > 0 {
		progress("removing what an earlier run left")
		if err := c.remove(); err != nil {
			return err
		}
	}
	if err := c.start(auditing, progress); err != nil {
		return errors.Join(err, c.diagnosis())
	}
	return nil
}

// start is the whole way from nothing to a cluster that takes pods.
func (c Cluster) start(auditing Auditing, progress Progress) error {
	began := time.Now()
	step := func(line string, works ...func() error) error {
		progress(fmt.Sprintf("%5.1fs %s", time.Since(began).Seconds(), line))
		return together(works...)
	}
	return firstError(
		func() error { return step("certificates, network, volumes", c.prepare) },
		func() error {
			return step("etcd, containerd", c.starting("etcd", auditing), c.starting("containerd", auditing))
		},
		func() error {
			return step("API server, images", c.starting("kube-apiserver", auditing), c.awaitAPI, c.loadImages)
		},
		func() error {
			return step("node, addons", c.starting("kube-controller-manager", auditing), c.starting("kube-scheduler", auditing),
				c.starting("kubelet", auditing), c.starting("kube-proxy", auditing), c.applyManifests)
		},
		func() error { return step("waiting for the node and DNS", c.awaitPods) },
		func() error { return c.remember(auditing) },
		func() error { return step("cluster " + c.name + " is up; kubeconfig " + c.Kubeconfig()) },
	)
}

// prepare makes all that the programs find when they start.
func (c Cluster) prepare() error {
	for _, folder := range []string{"bin", "logs", "pids", "config", "cni/conf", "pki", "kubeconfigs", "audit", "etcd-data",
		"containerd/root", "containerd/state", "kubelet-root", "kubelet-pki", "kubelet-plugins", "pod-logs", "volumes"} {
		if err := os.MkdirAll(c.in(folder), 0o755); err != nil {
			return fmt.Errorf("making work folder: %w", err)
		}
	}
	if err := os.Chmod(c.in("etcd-data"), 0o700); err != nil {
		return fmt.Errorf("closing etcd's folder: %w", err)
	}
	return firstError(
		c.linkPrograms,
		c.writeConfigs,
		c.issueCertificates,
		host.RaiseWatchLimit,
		c.createNetwork,
		func() error { return host.CreateCgroup(c.cgroup()) },
		c.mountVolumes,
	)
}

// linkPrograms gives every program its name; the Kubernetes ones are a single binary.
func (c Cluster) linkPrograms() error {
	links := map[string]string{"helm": "helm", "keylend-cluster": "keylend-cluster"}
	for _, program := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
		"kubelet", "kubeadm", "kubectl"} {
		links[program] = "kubernetes"
	}
	for name, tool := range links {
		target, err := c.tool(tool)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, filepath.Join(c.Bin(), name)); err != nil {
			return fmt.Errorf("linking %s: %w", name, err)
		}
	}
	return nil
}

// tool finds a built program, wherever the links in the cache lead.
func (c Cluster) tool(name string) (string, error) {
	path, err := filepath.EvalSymlinks(filepath.Join(c.tools, name))
	if err != nil {
		return "", fmt.Errorf("%s is not built (make cluster-tools): %w", name, err)
	}
	return path, nil
}

func (c Cluster) issueCertificates() error {
	kubeadm := filepath.Join(c.Bin(), "kubeadm")
	return firstError(
		func() error {
			return host.Command(kubeadm, "init", "phase", "certs", "all", "--config", c.in("config/kubeadm.yaml"))
		},
		func() error {
			return host.Command(kubeadm, "init", "phase", "kubeconfig", "all", "--config", c.in("config/kubeadm.yaml"),
				"--kubeconfig-dir", c.in("kubeconfigs"))
		},
	)
}

// lock makes several runs for one cluster take turns. The lock ends with the process that holds it.
func (c Cluster) lock() (func(), error) {
	if err := os.MkdirAll(filepath.Dir(c.state), 0o755); err != nil {
		return nil, fmt.Errorf("making state folder: %w", err)
	}
	file, err := os.OpenFile(c.state+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening lock: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("waiting for another run: %w", err)
	}
	return func() { _ = file.Close() }, nil
}
