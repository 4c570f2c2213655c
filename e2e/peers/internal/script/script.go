// Package script is a TLS origin that does what it is told, step by step, for the faults that a real server does not
// produce, and that keeps every byte it received. It speaks no HTTP: the test writes the answers.
package script

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// A Script is what is done with one connection. After its last step the connection is read until the peer closes
// it, unless a step has closed it.
type Script struct {
	Steps []Step `json:"steps"`
	// Loop begins again after the last step, for connections that carry many calls.
	Loop bool `json:"loop,omitempty"`
}

// A Step does exactly one of its parts.
type Step struct {
	// Handshake completes the TLS handshake. Any step that needs it does so by itself.
	Handshake bool `json:"handshake,omitempty"`
	// Await waits for bytes from the peer.
	Await *Await `json:"await,omitempty"`
	// Send sends bytes, given as base64; SendText sends text as it stands.
	Send     string `json:"send,omitempty"`
	SendText string `json:"send_text,omitempty"`
	// PauseMs waits.
	PauseMs int `json:"pause_ms,omitempty"`
	// Stall sends nothing and, after at most one more read, reads nothing, until the connection's ten minutes end.
	Stall bool `json:"stall,omitempty"`
	// Reset drops the connection with a TCP reset, after what was sent has left.
	Reset bool `json:"reset,omitempty"`
	// Close ends it: "tls" says so first (close_notify), "tcp" does not.
	Close string `json:"close,omitempty"`
	// HalfClose ends our direction only: "tls" or "tcp".
	HalfClose string `json:"half_close,omitempty"`
}

// Await names what to wait for, counted from where the last Await ended.
type Await struct {
	// Bytes waits for so many.
	Bytes int `json:"bytes,omitempty"`
	// Head waits for the end of a request head, and Body for so many bytes after it.
	Head bool `json:"head,omitempty"`
	Body int  `json:"body,omitempty"`
}

// mostSteps bounds a script.
const mostSteps = 10_000

// check says what is wrong with a script before it runs.
func (s Script) check() error {
	if len(s.Steps) > mostSteps {
		return errors.New("too many steps")
	}
	waits := slices.ContainsFunc(s.Steps, func(step Step) bool { return step.Await != nil || step.PauseMs > 0 })
	if s.Loop && !waits {
		return errors.New("a loop must await something or pause")
	}
	for i, step := range s.Steps {
		if err := step.check(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func (s Step) check() error {
	parts := 0
	for _, given := range []bool{
		s.Handshake, s.Await != nil, s.Send != "", s.SendText != "", s.PauseMs != 0,
		s.Stall, s.Reset, s.Close != "", s.HalfClose != "",
	} {
		if given {
			parts++
		}
	}
	if parts != 1 {
		return fmt.Errorf("does %d things, and must do one", parts)
	}
	for _, how := range []string{s.Close, s.HalfClose} {
		if how != "" && how != "tls" && how != "tcp" {
			return fmt.Errorf("cannot close by %q", how)
		}
	}
	_, err := s.text()
	return err
}

func (s Step) text() ([]byte, error) {
	if s.SendText != "" {
		return []byte(s.SendText), nil
	}
	return base64.StdEncoding.DecodeString(s.Send)
}
