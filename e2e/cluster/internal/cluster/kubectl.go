package cluster

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"keylend.dev/e2e/cluster/internal/host"
)

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
