package app

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// Raw is bytes to send as they are.
type Raw struct {
	// Address is the sidecar's listener unless told.
	Address string `json:"address"`
	// Writes go out one after the other, each after its delay.
	Writes []Write `json:"writes"`
	// HalfClose ends our direction after the last write.
	HalfClose bool `json:"half_close"`
	// TimeoutMs is how long to wait for more, from the last thing received or sent: 2 s unless told.
	TimeoutMs int `json:"timeout_ms"`
}

// Write is one write: bytes as base64, or text.
type Write struct {
	Base64  []byte `json:"base64"`
	Text    string `json:"text"`
	DelayMs int    `json:"delay_ms"`
	// SplitAt sends this write in pieces of so many bytes.
	SplitAt int `json:"split_at"`
}

// RawAnswer is what came back.
type RawAnswer struct {
	Base64 []byte `json:"base64"`
	Text   string `json:"text,omitempty"` // the same, if it is UTF-8
	Ended  string `json:"ended"`          // eof, timeout, reset, or another error
	Start  int64  `json:"start"`
	End    int64  `json:"end"`
	// WriteError says that not everything could be sent.
	WriteError string `json:"write_error,omitempty"`
}

const (
	sidecarListener = "127.0.0.1:7180"
	mostRawAnswer   = 16 << 20
)

func (a *App) postRaw(w http.ResponseWriter, r *http.Request) {
	var raw Raw
	if !take(w, r, &raw) {
		return
	}
	if raw.Address == "" {
		raw.Address = sidecarListener
	}
	answer, err := raw.carryOut()
	if !valid(w, err) {
		return
	}
	respond(w, answer)
}

func (raw *Raw) carryOut() (RawAnswer, error) {
	wait := 2 * time.Second
	if raw.TimeoutMs > 0 {
		wait = min(time.Duration(raw.TimeoutMs)*time.Millisecond, longestDeadline)
	}
	dialed, err := net.DialTimeout("tcp", raw.Address, 5*time.Second)
	if err != nil {
		return RawAnswer{}, err
	}
	defer dialed.Close()
	answer := RawAnswer{Start: time.Now().UnixNano()}
	written := make(chan error, 1)
	go func() { written <- raw.write(dialed) }()
	var received []byte
	buffer := make([]byte, 16<<10)
	for answer.Ended == "" {
		_ = dialed.SetReadDeadline(time.Now().Add(wait))
		n, err := dialed.Read(buffer)
		received = append(received, buffer[:n]...)
		// While we are still sending, silence is no end.
		silent := errors.Is(err, os.ErrDeadlineExceeded) && len(written) == 0
		switch {
		case err != nil && !silent:
			answer.Ended = ending(err)
		case len(received) > mostRawAnswer:
			answer.Ended = "too long"
		}
	}
	answer.End = time.Now().UnixNano()
	_ = dialed.Close()
	if err := <-written; err != nil {
		answer.WriteError = err.Error()
	}
	answer.Base64 = received
	answer.Text, _ = printable(received)
	return answer, nil
}

func (raw *Raw) write(conn net.Conn) error {
	for _, write := range raw.Writes {
		time.Sleep(time.Duration(min(write.DelayMs, 600_000)) * time.Millisecond)
		text := append(write.Base64, write.Text...)
		for len(text) > 0 {
			piece := len(text)
			if write.SplitAt > 0 {
				piece = min(write.SplitAt, piece)
			}
			_ = conn.SetWriteDeadline(time.Now().Add(time.Minute))
			if _, err := conn.Write(text[:piece]); err != nil {
				return err
			}
			text = text[piece:]
		}
	}
	if tcp, ok := conn.(*net.TCPConn); ok && raw.HalfClose {
		return tcp.CloseWrite()
	}
	return nil
}

func ending(err error) string {
	switch {
	case errors.Is(err, io.EOF):
		return "eof"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	default:
		return err.Error()
	}
}
