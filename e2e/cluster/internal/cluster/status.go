package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"keylend.dev/e2e/cluster/internal/host"
)

// memory is what a finished `up` writes down: its presence says that the cluster was complete.
type memory struct {
	Auditing Auditing `json:"auditing"`
}

func (c Cluster) remember(auditing Auditing) error {
	text, err := json.Marshal(memory{auditing})
	if err != nil {
		return fmt.Errorf("writing cluster memory: %w", err)
	}
	return os.WriteFile(c.in("up.json"), text, 0o644)
}

// isUp says whether a finished cluster runs with all its programs. One that runs with another setting is an error.
func (c Cluster) isUp(auditing Auditing) (bool, error) {
	text, err := os.ReadFile(c.in("up.json"))
	if err != nil {
		return false, nil // never finished
	}
	var was memory
	if err := json.Unmarshal(text, &was); err != nil {
		return false, nil // cut off while writing
	}
	if c.Status() != nil {
		return false, nil
	}
	if was.Auditing != auditing {
		return false, fmt.Errorf("cluster %s is up with its audit log %s; take it down first", c.name, was.Auditing)
	}
	return true, nil
}

// Status is nil when every program runs, the API answers and the node is ready.
func (c Cluster) Status() error {
	dead, err := c.deadDaemons()
	if err != nil {
		return err
	}
	if len(dead) > 0 {
		return fmt.Errorf("cluster %s: not running: %s", c.name, strings.Join(dead, ", "))
	}
	if err := c.probeAPI(); err != nil {
		return fmt.Errorf("cluster %s: %w", c.name, err)
	}
	return c.kubectl(nil, "wait", "--for=condition=Ready", "node/"+nodeName, "--timeout=1s")
}

// deadDaemons names the programs that do not run.
func (c Cluster) deadDaemons() ([]string, error) {
	alive, err := host.MarkedProcesses(c.mark())
	if err != nil {
		return nil, err
	}
	var dead []string
	for _, name := range daemonNames {
		text, err := os.ReadFile(c.pidFile(name))
		var pid int
		if err == nil {
			_, err = fmt.Sscan(string(text), &pid)
		}
		if err != nil || !slices.Contains(alive, pid) {
			dead = append(dead, name)
		}
	}
	return dead, nil
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
