package cluster

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// Container is a running container as the machine sees it.
type Container struct {
	ID  string `json:"id"`
	Pid int    `json:"pid"`
	// NetworkNamespace and Root are the pod's network and the container's file system, for nsenter and for reading.
	NetworkNamespace string `json:"networkNamespace"`
	Root             string `json:"root"`
}

// pod is what we read of one.
type pod struct {
	Status struct {
		Init      []containerStatus `json:"initContainerStatuses"`
		Ordinary  []containerStatus `json:"containerStatuses"`
		Ephemeral []containerStatus `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

type containerStatus struct {
	Name        string `json:"name"`
	ContainerID string `json:"containerID"`
}

// FindContainer finds the running container of a pod written NAMESPACE/NAME.
func (c Cluster) FindContainer(podName, container string) (Container, error) {
	namespace, name, found := strings.Cut(podName, "/")
	if !found {
		return Container{}, fmt.Errorf("pod %q is not NAMESPACE/NAME", podName)
	}
	text, err := c.kubectlOutput("get", "pod", name, "--namespace", namespace, "--output=json")
	if err != nil {
		return Container{}, err
	}
	var read pod
	if err := json.Unmarshal(text, &read); err != nil {
		return Container{}, fmt.Errorf("reading pod: %w", err)
	}
	status := read.Status
	for _, one := range append(append(status.Init, status.Ordinary...), status.Ephemeral...) {
		if one.Name == container {
			return c.runningTask(strings.TrimPrefix(one.ContainerID, "containerd://"))
		}
	}
	return Container{}, fmt.Errorf("pod %s has no started container %q", podName, container)
}

// runningTask asks containerd for the process of a container.
func (c Cluster) runningTask(id string) (Container, error) {
	output, err := exec.Command("ctr", "--address", c.Paths().ContainerdSocket, "--namespace", "k8s.io", "tasks", "list").Output()
	if err != nil {
		return Container{}, fmt.Errorf("listing running containers: %w", err)
	}
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || fields[0] != id || fields[2] == "STOPPED" {
			continue
		}
		pid, err := strconv.Atoi(fields[1])
		if err != nil {
			return Container{}, fmt.Errorf("reading process id: %w", err)
		}
		process := "/proc/" + fields[1]
		return Container{ID: id, Pid: pid, NetworkNamespace: process + "/ns/net", Root: process + "/root"}, nil
	}
	return Container{}, fmt.Errorf("container %s does not run", id)
}
