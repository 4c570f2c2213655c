package cluster

import (
	"path/filepath"

	"keylend.dev/e2e/cluster/internal/host"
)

// daemonNames are the programs of a cluster; each is also the name of its log and of its pid file.
var daemonNames = []string{"etcd", "containerd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"}

// starting is the start of the daemon called name, to be done later.
func (c Cluster) starting(name string, auditing Auditing) func() error {
	return func() error {
		return host.InNamespace(c.Namespace(), func() error {
			return host.Daemon{
				Arguments:   append([]string{c.program(name)}, c.flags(auditing)[name]...),
				Environment: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", c.mark()},
				Log:         c.in("logs/" + name + ".log"),
				PidFile:     c.pidFile(name),
			}.Start()
		})
	}
}

func (c Cluster) program(name string) string {
	if name == "containerd" {
		return "/usr/bin/containerd"
	}
	return filepath.Join(c.Bin(), name)
}

func (c Cluster) pidFile(name string) string { return c.in("pids/" + name + ".pid") }

// flags are the daemons' command lines.
func (c Cluster) flags(auditing Auditing) map[string][]string {
	return map[string][]string{
		"etcd":                    c.etcdFlags(),
		"containerd":              {"--config", c.in("config/containerd.toml")},
		"kube-apiserver":          append(c.apiServerFlags(), c.auditFlags(auditing)...),
		"kube-controller-manager": c.controllerManagerFlags(),
		"kube-scheduler":          {"--kubeconfig", c.in("kubeconfigs/scheduler.conf"), "--leader-elect=false", "--bind-address=127.0.0.1"},
		"kubelet": {
			"--config", c.in("config/kubelet.yaml"), "--kubeconfig", c.in("kubeconfigs/kubelet.conf"),
			"--root-dir", c.in("kubelet-root"), "--cert-dir", c.in("kubelet-pki"),
			"--hostname-override", nodeName, "--node-ip", nodeAddress,
		},
		"kube-proxy": {"--config", c.in("config/kube-proxy.yaml")},
	}
}

// Safety against power loss is not wanted of a test's etcd.
func (c Cluster) etcdFlags() []string {
	pki := c.in("pki/etcd")
	return []string{
		"--name=" + nodeName, "--data-dir=" + c.in("etcd-data"), "--unsafe-no-fsync", "--logger=zap", "--log-level=warn",
		"--listen-client-urls=" + etcdAddress, "--advertise-client-urls=" + etcdAddress,
		"--listen-peer-urls=https://127.0.0.1:2380", "--initial-advertise-peer-urls=https://127.0.0.1:2380",
		"--initial-cluster=" + nodeName + "=https://127.0.0.1:2380",
		"--client-cert-auth", "--trusted-ca-file=" + pki + "/ca.crt", "--cert-file=" + pki + "/server.crt", "--key-file=" + pki + "/server.key",
		"--peer-client-cert-auth", "--peer-trusted-ca-file=" + pki + "/ca.crt", "--peer-cert-file=" + pki + "/peer.crt", "--peer-key-file=" + pki + "/peer.key",
	}
}

// No --kubelet-certificate-authority: kubelet serves a certificate of its own.
func (c Cluster) apiServerFlags() []string {
	pki := c.in("pki")
	return []string{
		"--advertise-address=" + nodeAddress, "--secure-port=6443", "--allow-privileged=true",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--client-ca-file=" + pki + "/ca.crt", "--tls-cert-file=" + pki + "/apiserver.crt", "--tls-private-key-file=" + pki + "/apiserver.key",
		"--etcd-servers=" + etcdAddress, "--etcd-cafile=" + pki + "/etcd/ca.crt",
		"--etcd-certfile=" + pki + "/apiserver-etcd-client.crt", "--etcd-keyfile=" + pki + "/apiserver-etcd-client.key",
		"--kubelet-preferred-address-types=InternalIP",
		"--kubelet-client-certificate=" + pki + "/apiserver-kubelet-client.crt", "--kubelet-client-key=" + pki + "/apiserver-kubelet-client.key",
		"--proxy-client-cert-file=" + pki + "/front-proxy-client.crt", "--proxy-client-key-file=" + pki + "/front-proxy-client.key",
		"--requestheader-client-ca-file=" + pki + "/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + pki + "/sa.pub", "--service-account-signing-key-file=" + pki + "/sa.key",
		"--service-cluster-ip-range=" + services,
	}
}

func (c Cluster) auditFlags(auditing Auditing) []string {
	if auditing == WithoutAudit {
		return nil
	}
	return []string{"--audit-policy-file=" + c.in("config/audit.yaml"), "--audit-log-path=" + c.Paths().AuditLog}
}

func (c Cluster) controllerManagerFlags() []string {
	pki := c.in("pki")
	return []string{
		"--kubeconfig=" + c.in("kubeconfigs/controller-manager.conf"), "--leader-elect=false", "--bind-address=127.0.0.1",
		"--use-service-account-credentials", "--root-ca-file=" + pki + "/ca.crt",
		"--service-account-private-key-file=" + pki + "/sa.key",
		"--cluster-signing-cert-file=" + pki + "/ca.crt", "--cluster-signing-key-file=" + pki + "/ca.key",
	}
}
