package cluster

import (
	"bytes"
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
