package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"keylend.dev/e2e/cluster/internal/host"
	"keylend.dev/e2e/cluster/internal/image"
)

// awaitAPI waits until the API server is ready, or a program dies.
func (c Cluster) awaitAPI() error {
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err := c.probeAPI()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// probeAPI asks the API server once whether it is ready; that needs no credential.
func (c Cluster) probeAPI() error {
	authority, err := os.ReadFile(c.in("pki/ca.crt"))
	if err != nil {
		return fmt.Errorf("reading the cluster's CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DialContext: c.dial, DisableKeepAlives: true,
	}}
	answer, err := client.Get(apiServer + "/readyz")
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the API server is not ready: %s", answer.Status)
	}
	return nil
}

// dial connects from inside the cluster's network.
func (c Cluster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var connection net.Conn
	err := host.InNamespace(c.Namespace(), func() (err error) {
		connection, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return connection, err
}

func (c Cluster) loadImages() error {
	if err := c.awaitContainerd(); err != nil {
		return err
	}
	for reference, tool := range map[string]string{pauseImage: "pause", corednsImage: "coredns"} {
		binary, err := c.tool(tool)
		if err != nil {
			return err
		}
		built, err := image.Build(image.Spec{Reference: reference, Files: []image.File{{Source: binary, Destination: "/" + tool}}, User: "65532"})
		if err != nil {
			return err
		}
		if err := built.Load(c.Paths().ContainerdSocket); err != nil {
			return err
		}
	}
	return nil
}

func (c Cluster) awaitContainerd() error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := host.Command("ctr", "--address", c.Paths().ContainerdSocket, "version")
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func (c Cluster) applyManifests() error {
	for _, name := range []string{"addons.yaml", "storage.yaml"} {
		manifest, err := render(name, c.facts())
		if err != nil {
			return err
		}
		if err := c.kubectl(bytes.NewReader(manifest), "apply", "--validate=false", "-f", "-"); err != nil {
			return err
		}
	}
	return nil
}

// awaitPods waits until a pod would be taken, would run and could resolve names.
func (c Cluster) awaitPods() error {
	return firstError(
		func() error { return c.kubectl(nil, "wait", "--for=create", "node/"+nodeName, "--timeout=60s") },
		func() error {
			return c.kubectl(nil, "wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=60s")
		},
		func() error { return c.kubectl(nil, "wait", "--for=create", "serviceaccount/default", "--timeout=60s") },
		func() error {
			return c.kubectl(nil, "--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
		},
	)
}

func (c Cluster) kubectl(input io.Reader, arguments ...string) error {
	_, err := c.runKubectl(input, arguments)
	return err
}

func (c Cluster) kubectlOutput(arguments ...string) ([]byte, error) {
	return c.runKubectl(nil, arguments)
}

func (c Cluster) runKubectl(input io.Reader, arguments []string) ([]byte, error) {
	var output, problems bytes.Buffer
	err := host.InNamespace(c.Namespace(), func() error {
		command := exec.Command(filepath.Join(c.Bin(), "kubectl"), arguments...)
		command.Env = []string{"KUBECONFIG=" + c.Kubeconfig(), "HOME=" + c.state, "PATH=/usr/bin:/bin"}
		command.Stdin, command.Stdout, command.Stderr = input, &output, &problems
		return command.Run()
	})
	if err != nil {
		return nil, fmt.Errorf("kubectl %s: %w\n%s", strings.Join(arguments, " "), err, problems.Bytes())
	}
	return output.Bytes(), nil
}

// diagnosis names the programs that died, and the last they said.
func (c Cluster) diagnosis() error {
	dead, err := c.deadDaemons()
	if err != nil {
		return err
	}
	problems := []error{fmt.Errorf("logs are in %s", c.in("logs"))}
	for _, name := range dead {
		text, err := os.ReadFile(c.in("logs/" + name + ".log"))
		if err != nil {
			continue // never started
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		problems = append(problems, fmt.Errorf("%s is not running; its last lines:\n%s", name, strings.Join(lines[max(0, len(lines)-5):], "\n")))
	}
	return errors.Join(problems...)
}

// firstError does one work after another until one fails.
func firstError(works ...func() error) error {
	for _, work := range works {
		if err := work(); err != nil {
			return err
		}
	}
	return nil
}

// together does all works at once and waits for all.
func together(works ...func() error) error {
	failures := make([]error, len(works))
	var group sync.WaitGroup
	for index, work := range works {
		group.Go(func() { failures[index] = work() })
	}
	group.Wait()
	return errors.Join(failures...)
}
