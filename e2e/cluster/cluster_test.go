// Package cluster_test holds the cluster to its promises on this machine. It needs root and `make cluster-tools`.
package cluster_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keylend.dev/e2e/cluster/internal/bare"
)

// name is the cluster these tests own; they take it down before and after.
const name = "selftest"

func TestTheClusterComesUpGoesDownAndSurvivesCrashes(t *testing.T) {
	keylend(t, "down")
	t.Cleanup(func() { keylend(t, "down") })

	began := time.Now()
	keylend(t, "up")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("up took %s", took)
	} else {
		t.Logf("up in %s", took)
	}
	t.Run("up a second time changes nothing", func(t *testing.T) {
		before := node(t)
		if said := keylend(t, "up"); !strings.Contains(said, "already up") {
			t.Errorf("said %q", said)
		}
		if after := node(t); after != before {
			t.Errorf("the node was %s and is %s", before, after)
		}
	})
	t.Run("it is the Kubernetes that go.mod names", func(t *testing.T) {
		if version := inside(t, "kubectl", "version", "-o", "json"); !strings.Contains(version, `"gitVersion": "v1.36.4"`) {
			t.Error(version)
		}
	})
	t.Run("check names what a cluster has", func(t *testing.T) {
		output, err := command("check").CombinedOutput()
		if err == nil {
			t.Error("found nothing of a cluster that is up")
		}
		for _, kind := range []string{"process", "mount", "cgroup", "file"} {
			if !strings.Contains(string(output), kind+" ") {
				t.Errorf("no %s in %s", kind, output)
			}
		}
	})
	t.Run("after kubelet was killed up makes a fresh cluster", func(t *testing.T) {
		before := node(t)
		kill(t, "kubelet")
		if command("status").Run() == nil {
			t.Error("a cluster without kubelet passed for healthy")
		}
		keylend(t, "up")
		if after := node(t); after == before {
			t.Error("the crashed cluster was kept")
		}
	})
	t.Run("down after containerd was killed leaves nothing, twice", func(t *testing.T) {
		kill(t, "containerd")
		keylend(t, "down")
		keylend(t, "check")
		keylend(t, "down")
		keylend(t, "check")
	})
	t.Run("after up itself was killed midway up works", func(t *testing.T) {
		for _, moment := range []time.Duration{time.Second, 4 * time.Second} {
			started := command("up")
			if err := started.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(moment)
			if err := started.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = started.Wait()
		}
		keylend(t, "up")
		keylend(t, "status")
	})
}

func TestAnAPIServerAloneAnswersAndEndsHoweverItIsEnded(t *testing.T) {
	for _, c := range []struct {
		how   string
		end   func(process *os.Process, input io.Closer) error
		files bool
	}{
		{"its input ends", func(_ *os.Process, input io.Closer) error { return input.Close() }, false},
		{"SIGTERM", func(process *os.Process, _ io.Closer) error { return process.Signal(syscall.SIGTERM) }, false},
		{"SIGKILL", func(process *os.Process, _ io.Closer) error { return process.Kill() }, true},
	} {
		t.Run(c.how, func(t *testing.T) {
			folder := t.TempDir()
			alone := exec.Command(program("keylend-cluster"), "api")
			alone.Env = append(os.Environ(), "TMPDIR="+folder)
			input, _ := alone.StdinPipe()
			said, _ := alone.StdoutPipe()
			if err := alone.Start(); err != nil {
				t.Fatal(err)
			}
			var facts bare.Facts
			if err := json.NewDecoder(said).Decode(&facts); err != nil {
				t.Fatal(err)
			}
			kubectl := exec.Command(program("kubernetes"))
			kubectl.Args = []string{"kubectl", "--server", facts.Server, "--token", facts.Token, "--insecure-skip-tls-verify", "version"}
			if version := output(t, kubectl); !strings.Contains(version, "Server Version: v1.36.4") {
				t.Error(version)
			}
			if err := c.end(alone.Process, input); err != nil {
				t.Fatal(err)
			}
			_ = alone.Wait()
			for deadline := time.Now().Add(5 * time.Second); answers(facts.Etcd); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("etcd still answers")
				}
			}
			if left, _ := os.ReadDir(folder); len(left) > 0 && !c.files {
				t.Errorf("left %v", left)
			}
		})
	}
}

func answers(server string) bool {
	answer, err := http.Get(server + "/health")
	if err == nil {
		_ = answer.Body.Close()
	}
	return err == nil
}

// node is the identity of the cluster's node: a fresh cluster has a fresh one.
func node(t *testing.T) string {
	t.Helper()
	return inside(t, "kubectl", "get", "nodes", "-o", "jsonpath={.items[*].metadata.uid}")
}

func inside(t *testing.T, arguments ...string) string {
	t.Helper()
	return output(t, exec.Command(binary(), append([]string{"run", "--name", name, "--"}, arguments...)...))
}

func keylend(t *testing.T, verb string) string {
	t.Helper()
	return output(t, command(verb))
}

func output(t *testing.T, command *exec.Cmd) string {
	t.Helper()
	text, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command.Args, err, text)
	}
	return string(text)
}

func command(verb string) *exec.Cmd { return exec.Command(binary(), verb, "--name", name) }

func binary() string { return program("keylend-cluster") }

func program(name string) string {
	cache := os.Getenv("KEYLEND_CACHE")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache", "keylend")
	}
	return filepath.Join(cache, "bin", name)
}

// kill ends one of the cluster's programs as a crash would.
func kill(t *testing.T, program string) {
	t.Helper()
	var paths struct{ PidFiles string }
	if err := json.Unmarshal([]byte(keylend(t, "paths")), &paths); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(paths.PidFiles, program+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
