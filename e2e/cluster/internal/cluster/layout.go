// Package cluster brings one Kubernetes cluster up and takes it down: real programs, one node, no Docker.
//
// Everything a cluster has lies in its work folder, its network namespace and its cgroup, all named after it, so
// clusters of different names live side by side and taking one down leaves nothing. Nothing that only one test
// needs may be added here: tests change the running cluster through its API.
package cluster

import (
	"fmt"
	"path/filepath"
	"regexp"
)

// Addresses are the same in every cluster, for each has a network of its own.
const (
	nodeName    = "keylend-node"
	nodeAddress = "10.244.0.1"
	podNetwork  = "10.244.0.0/24"
	dnsAddress  = "10.96.0.10"
	services    = "10.96.0.0/12"
	apiServer   = "https://10.244.0.1:6443"
	etcdAddress = "https://127.0.0.1:2379"
)

// Cluster says where a cluster lives.
type Cluster struct {
	name  string
	state string
	tools string
}

var namePattern = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){0,19}$`)

// New names a cluster whose work folder lies below states and whose programs lie in tools.
func New(name, states, tools string) (Cluster, error) {
	if !namePattern.MatchString(name) {
		return Cluster{}, fmt.Errorf("cluster name %q: at most 20 small letters, digits and single dashes", name)
	}
	if !filepath.IsAbs(states) {
		return Cluster{}, fmt.Errorf("state folder %q is not absolute", states)
	}
	return Cluster{name: name, state: filepath.Join(filepath.Clean(states), name), tools: tools}, nil
}

// Paths is where things are, for tests that look beneath the API.
type Paths struct {
	Name             string `json:"name"`
	State            string `json:"state"`
	NetworkNamespace string `json:"networkNamespace"`
	Kubeconfig       string `json:"kubeconfig"`
	APIServer        string `json:"apiServer"`
	Node             string `json:"node"`
	Bin              string `json:"bin"`
	Logs             string `json:"logs"`
	PidFiles         string `json:"pidFiles"`
	PKI              string `json:"pki"`
	EtcdEndpoint     string `json:"etcdEndpoint"`
	EtcdData         string `json:"etcdData"`
	EtcdCA           string `json:"etcdCA"`
	EtcdCertificate  string `json:"etcdCertificate"`
	EtcdKey          string `json:"etcdKey"`
	KubeletRoot      string `json:"kubeletRoot"`
	PodLogs          string `json:"podLogs"`
	ContainerdSocket string `json:"containerdSocket"`
	ContainerdRoot   string `json:"containerdRoot"`
	ContainerdState  string `json:"containerdState"`
	Cgroup           string `json:"cgroup"`
	AuditLog         string `json:"auditLog"`
	Volumes          string `json:"volumes"`
}

// Paths lists where this cluster's things are, whether it is up or not.
func (c Cluster) Paths() Paths {
	return Paths{
		Name:             c.name,
		State:            c.state,
		NetworkNamespace: "/run/netns/" + c.Namespace(),
		Kubeconfig:       c.Kubeconfig(),
		APIServer:        apiServer,
		Node:             nodeName,
		Bin:              c.in("bin"),
		Logs:             c.in("logs"),
		PidFiles:         c.in("pids"),
		PKI:              c.in("pki"),
		EtcdEndpoint:     etcdAddress,
		EtcdData:         c.in("etcd-data"),
		EtcdCA:           c.in("pki/etcd/ca.crt"),
		EtcdCertificate:  c.in("pki/etcd/healthcheck-client.crt"),
		EtcdKey:          c.in("pki/etcd/healthcheck-client.key"),
		KubeletRoot:      c.in("kubelet-root"),
		PodLogs:          c.in("pod-logs"),
		ContainerdSocket: c.in("containerd/containerd.sock"),
		ContainerdRoot:   c.in("containerd/root"),
		ContainerdState:  c.in("containerd/state"),
		Cgroup:           "/" + c.cgroup(),
		AuditLog:         c.in("audit/audit.log"),
		Volumes:          c.in("volumes"),
	}
}

// Name is what the cluster is called.
func (c Cluster) Name() string { return c.name }

// Namespace is the name of the cluster's network namespace.
func (c Cluster) Namespace() string { return "keylend-" + c.name }

// Kubeconfig is the file with which one may do everything.
func (c Cluster) Kubeconfig() string { return c.in("kubeconfigs/super-admin.conf") }

// Bin is the folder of links to the cluster's programs, kubectl and helm among them.
func (c Cluster) Bin() string { return c.in("bin") }

func (c Cluster) cgroup() string { return "keylend-" + c.name }

// network is the name of the pod network, by which the CNI plugins file what they remember.
func (c Cluster) network() string { return "keylend-" + c.name }

// mark stands in the environment of every process of ours outside the containers, so that taking down finds
// them whatever crashed in between.
func (c Cluster) mark() string { return "KEYLEND_CLUSTER_DAEMON=" + c.state }

func (c Cluster) in(path string) string { return filepath.Join(c.state, path) }
