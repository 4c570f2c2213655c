package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Daemon is a long-running program: what to start, where it logs and where its process id is written.
type Daemon struct {
	// Arguments begin with the program's path.
	Arguments []string
	// Environment is the whole of it; nothing is inherited.
	Environment []string
	Log         string
	PidFile     string
}

// Start starts the daemon in a session of its own, so that it outlives us.
func (d Daemon) Start() error {
	log, err := os.OpenFile(d.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	defer func() { _ = log.Close() }()
	command := exec.Command(d.Arguments[0], d.Arguments[1:]...)
	command.Env, command.Stdout, command.Stderr, command.Dir = d.Environment, log, log, "/"
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", d.Arguments[0], err)
	}
	pid := command.Process.Pid
	go func() { _ = command.Wait() }() // a daemon that dies while we watch must not look alive as a zombie
	return os.WriteFile(d.PidFile, []byte(strconv.Itoa(pid)+"\n"), 0o644)
}

// MarkedProcesses are the processes whose environment holds exactly the entry mark. Children inherit it, the
// containers they start do not.
func MarkedProcesses(mark string) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var marked []int
	for _, file := range files {
		environment, err := os.ReadFile(file)
		if err != nil {
			continue // it ended meanwhile
		}
		for entry := range bytes.SplitSeq(environment, []byte{0}) {
			if string(entry) == mark {
				pid, err := strconv.Atoi(strings.Split(file, "/")[2])
				if err != nil {
					return nil, fmt.Errorf("reading process id: %w", err)
				}
				marked = append(marked, pid)
			}
		}
	}
	return marked, nil
}

// EndProcesses kills what list names until it names nothing any more.
func EndProcesses(list func() ([]int, error)) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		pids, err := list()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", pids)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing process %d: %w", pid, err)
			}
		}
	}
}
