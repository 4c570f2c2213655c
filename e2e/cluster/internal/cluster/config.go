package cluster

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed files
var files embed.FS

// The two images that a cluster needs by itself.
const (
	pauseImage   = "keylend.dev/cluster/pause:local"
	corednsImage = "keylend.dev/cluster/coredns:local"
)

// facts are what the templates in files may mention.
type facts struct {
	Paths
	NodeAddress, PodNetwork, Services, DNSAddress string
	Network, PauseImage, CoreDNSImage             string
	// Version is the Kubernetes that runs.
	Version string
	Classes map[string]bool
	// Volumes hides Paths.Volumes, the folder, which no template needs.
	Volumes []volume
}

func (c Cluster) facts() facts {
	return facts{
		Paths: c.Paths(), NodeAddress: nodeAddress, PodNetwork: podNetwork, Services: services, DNSAddress: dnsAddress,
		Network: c.network(), PauseImage: pauseImage, CoreDNSImage: corednsImage,
		Classes: classes, Volumes: c.volumes(),
	}
}

// render fills in one of the files.
func render(name string, facts facts) ([]byte, error) {
	parsed, err := template.New(name).Option("missingkey=error").ParseFS(files, path.Join("files", name))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	var text bytes.Buffer
	if err := parsed.Execute(&text, facts); err != nil {
		return nil, fmt.Errorf("filling in %s: %w", name, err)
	}
	return text.Bytes(), nil
}

// writeConfigs writes the configuration files of all programs.
func (c Cluster) writeConfigs() error {
	version, err := exec.Command(filepath.Join(c.Bin(), "kubeadm"), "version", "--output=short").Output()
	if err != nil {
		return fmt.Errorf("asking for the version: %w", err)
	}
	facts := c.facts()
	facts.Version = strings.TrimSpace(string(version))
	for name, target := range map[string]string{
		"kubeadm.yaml":    "config/kubeadm.yaml",
		"containerd.toml": "config/containerd.toml",
		"kubelet.yaml":    "config/kubelet.yaml",
		"kube-proxy.yaml": "config/kube-proxy.yaml",
		"audit.yaml":      "config/audit.yaml",
		"cni.conflist":    "cni/conf/10-pods.conflist",
	} {
		text, err := render(name, facts)
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.in(target), text, 0o644); err != nil {
			return fmt.Errorf("writing %s: %w", target, err)
		}
	}
	return nil
}
