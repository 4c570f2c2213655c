package image

import (
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// Load imports the image into the containerd behind socket, and returns once a pod may use it.
func (i Image) Load(socket string) error {
	reader, writer := io.Pipe()
	go func() {
		_, err := i.WriteTo(writer)
		_ = writer.CloseWithError(err)
	}()
	command := exec.Command("ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", "-")
	command.Stdin = reader
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("importing image %s: %w\n%s", i.Reference, err, output)
	}
	for _, name := range i.names() {
		if err := i.awaitKubernetes(socket, name); err != nil {
			return err
		}
	}
	return nil
}

// awaitKubernetes waits until containerd's Kubernetes side, which learns of images by event, lists this one under name.
// A pod made earlier would fail with ErrImageNeverPull and back off.
func (i Image) awaitKubernetes(socket, name string) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		output, err := exec.Command("ctr", "--address", socket, "--namespace", "k8s.io", "images", "list", "name=="+name).CombinedOutput()
		if err != nil {
			return fmt.Errorf("listing images: %w\n%s", err, output)
		}
		if strings.Contains(string(output), i.Digest) && strings.Contains(string(output), "io.cri-containerd.image=managed") {
			return nil
		}
	}
	return fmt.Errorf("image %s was imported, but Kubernetes does not see it", name)
}
