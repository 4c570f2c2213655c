package script

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// mostReceived bounds what is kept of one connection; more is counted only.
const mostReceived = 1 << 20

// limit bounds one connection's life.
const limit = 10 * time.Minute

// connection is one accepted connection and what came over it.
type connection struct {
	id       uint64
	accepted time.Time
	remote   string
	tcp      *net.TCPConn
	tls      *tls.Conn

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced whenever something below changes
	sni      string
	received []byte
	length   int
	sent     int
	ended    string // how reading ended; empty while it goes on
	done     string // how the script ended; empty while it runs
	closed   time.Time

	cursor  int // where the last Await ended
	reading bool
	stalled chan struct{}
}

var errEnded = errors.New("the peer ended the connection")

// run carries out the script, then reads on until the peer closes.
func (c *connection) run(ctx context.Context, script Script) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := c.steps(ctx, script)
	outcome := "completed"
	if err != nil {
		outcome = err.Error()
	}
	c.update(func() { c.done = outcome })
	if err == nil && c.isOpen() {
		if c.handshake(ctx) == nil {
			_ = c.await(ctx, func([]byte, int) bool { return false })
		}
	}
	_ = c.end("tls")
}

func (c *connection) steps(ctx context.Context, script Script) error {
	for {
		for _, step := range script.Steps {
			if err := c.step(ctx, step); err != nil {
				return err
			}
			if !c.isOpen() {
				return nil
			}
		}
		if !script.Loop || len(script.Steps) == 0 {
			return nil
		}
	}
}

func (c *connection) step(ctx context.Context, step Step) error {
	switch {
	case step.Reset:
		return c.reset()
	case step.PauseMs > 0:
		return sleep(ctx, time.Duration(step.PauseMs)*time.Millisecond)
	case step.Close == "tcp":
		return c.end("tcp")
	case step.Stall:
		return c.stall(ctx)
	}
	if err := c.handshake(ctx); err != nil {
		return err
	}
	switch {
	case step.Await != nil:
		return c.awaitStep(ctx, *step.Await)
	case step.Close == "tls":
		return c.end("tls")
	case step.HalfClose == "tls":
		return c.tls.CloseWrite()
	case step.HalfClose == "tcp":
		return c.tcp.CloseWrite()
	case step.Handshake:
		return nil
	default:
		return c.send(step)
	}
}

// handshake completes TLS once, and begins to record.
func (c *connection) handshake(ctx context.Context) error {
	if err := c.tls.HandshakeContext(ctx); err != nil {
		c.update(func() { c.ended = "handshake: " + err.Error() })
		return err
	}
	c.mu.Lock()
	begin := !c.reading
	c.reading = true
	c.sni = c.tls.ConnectionState().ServerName
	c.mu.Unlock()
	if begin {
		go c.record()
	}
	return nil
}

// record reads until the connection ends or a step stalls it.
func (c *connection) record() {
	buffer := make([]byte, 16<<10)
	for {
		n, err := c.tls.Read(buffer)
		c.update(func() {
			c.length += n
			c.received = append(c.received, buffer[:min(n, mostReceived-len(c.received))]...)
			if err != nil {
				c.ended = err.Error()
			}
		})
		if err != nil {
			return
		}
		select {
		case <-c.stalled:
			return
		default:
		}
	}
}

// stall leaves the peer's bytes unread until the script's limit; a peer that gives up is not noticed.
func (c *connection) stall(ctx context.Context) error {
	close(c.stalled)
	<-ctx.Done()
	return c.reset()
}

func (c *connection) send(step Step) error {
	text, err := step.text()
	if err != nil {
		return err
	}
	n, err := c.tls.Write(text)
	c.update(func() { c.sent += n })
	return err
}

func (c *connection) awaitStep(ctx context.Context, wanted Await) error {
	end := -1
	err := c.await(ctx, func(received []byte, length int) bool {
		end = wanted.end(received, c.cursor)
		return end >= 0 && end <= length
	})
	if err == nil {
		c.cursor = end
	}
	return err
}

// end is where what is awaited ends, or -1 while that is not known.
func (a Await) end(received []byte, from int) int {
	if !a.Head {
		return from + a.Bytes
	}
	at := bytes.Index(received[min(from, len(received)):], []byte("\r\n\r\n"))
	if at < 0 {
		return -1
	}
	return from + at + 4 + a.Body
}

// await waits until enough says so of what was received.
func (c *connection) await(ctx context.Context, enough func(received []byte, length int) bool) error {
	for {
		c.mu.Lock()
		done, ended, changed := enough(c.received, c.length), c.ended != "", c.changed
		c.mu.Unlock()
		if done {
			return nil
		}
		if ended {
			return errEnded
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reset sends what is still in the kernel's buffer, then a TCP reset instead of an orderly end.
func (c *connection) reset() error {
	for range 1000 {
		if c.unsent() == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := c.tcp.SetLinger(0); err != nil {
		return err
	}
	return c.end("tcp")
}

// unsent counts the bytes the peer has not acknowledged yet.
func (c *connection) unsent() int32 {
	var waiting int32
	raw, err := c.tcp.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&waiting)))
	})
	return waiting
}

// end closes the connection once.
func (c *connection) end(how string) error {
	if !c.isOpen() {
		return nil
	}
	c.update(func() { c.closed = time.Now() })
	if how == "tls" {
		return c.tls.Close()
	}
	return c.tcp.Close()
}

func (c *connection) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed.IsZero()
}

func (c *connection) update(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
