// Package bare runs etcd and the API server alone, on loopback, for tests of programs that speak to nothing else.
//
// No node and no controller. Whoever has the token, or reaches etcd, may do everything; others what RBAC permits. Both
// live no longer than the process that runs them, even if that is killed (SIGKILL), after which only files are left.
package bare

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Facts is what one needs to speak to both.
type Facts struct {
	Server string `json:"server"`
	// CA vouches for the server, as PEM.
	CA    string `json:"ca"`
	Token string `json:"token"`
	// Etcd speaks JSON as well (/v3/kv/put).
	Etcd string `json:"etcd"`
}

// patience is how long the API server may take until it is ready.
const patience = 90 * time.Second

// Serve runs both until wait returns, and announces them once they are ready. kubernetes is the path of the program
// that is all of Kubernetes' programs.
func Serve(kubernetes string, announce func(Facts) error, wait func()) error {
	// The kernel sends Pdeathsig when the thread ends that started a program, so this one must not.
	runtime.LockOSThread()
	signalled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	folder, err := os.MkdirTemp("", "keylend-bare-")
	if err != nil {
		return fmt.Errorf("making work folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	made, err := prepare(folder)
	if err != nil {
		return err
	}
	ended, cancel := context.WithCancelCause(signalled)
	defer cancel(nil)
	go func() { wait(); cancel(nil) }()
	var programs sync.WaitGroup
	defer programs.Wait()
	for _, arguments := range made.commands() {
		running, err := start(kubernetes, folder, arguments)
		if err != nil {
			return err
		}
		defer func() { _ = running.Process.Kill() }()
		programs.Go(func() {
			_ = running.Wait()
			cancel(fmt.Errorf("%s ended: %s", arguments[0], tail(folder, arguments[0])))
		})
	}
	facts, err := made.await(ended)
	if err == nil {
		err = announce(facts)
	}
	if err != nil {
		return err
	}
	<-ended.Done()
	if cause := context.Cause(ended); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// start starts one of Kubernetes' programs, which ends with us.
func start(kubernetes, folder string, arguments []string) (*exec.Cmd, error) {
	log, err := os.Create(logOf(folder, arguments[0]))
	if err != nil {
		return nil, fmt.Errorf("opening log: %w", err)
	}
	defer func() { _ = log.Close() }()
	command := &exec.Cmd{Path: kubernetes, Args: arguments, Dir: folder, Stdout: log, Stderr: log}
	command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + folder}
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", arguments[0], err)
	}
	return command, nil
}

func logOf(folder, program string) string { return filepath.Join(folder, program+".log") }

// tail is the end of a program's log.
func tail(folder, program string) string {
	text, err := os.ReadFile(logOf(folder, program))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(bytes.TrimSpace(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// await waits until the API server is ready.
func (m made) await(ended context.Context) (Facts, error) {
	limited, cancel := context.WithTimeout(ended, patience)
	defer cancel()
	for {
		err := m.probe(limited)
		if err == nil {
			return m.facts()
		}
		select {
		case <-limited.Done():
			return Facts{}, errors.Join(context.Cause(limited), err, errors.New(tail(m.folder, "kube-apiserver")))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (m made) probe(ended context.Context) error {
	facts, err := m.facts()
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(facts.CA))
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	request, err := http.NewRequestWithContext(ended, http.MethodGet, facts.Server+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+facts.Token)
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1<<12))
		return fmt.Errorf("the API server is not ready: %s", said)
	}
	return nil
}
