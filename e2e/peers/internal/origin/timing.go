package origin

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// The behaviours whose point is when something is sent, or that it is not.

// pause waits, or returns false once the client has gone.
func (c *call) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.r.Context().Done():
		return false
	}
}

func (c *call) flush() { _ = http.NewResponseController(c.w).Flush() }

// slow answers after `ms`; with `head=1` the head goes out at once and the body after it.
func (c *call) slow() {
	if c.text("head", "") != "" {
		c.w.WriteHeader(http.StatusOK)
		c.flush()
	}
	if c.pause(time.Duration(c.count("ms", 1000, 600_000)) * time.Millisecond) {
		c.ok()
	}
}

// hints sends 103 Early Hints before its answer.
func (c *call) hints() {
	c.w.Header().Set("Link", "</style.css>; rel=preload")
	c.w.WriteHeader(http.StatusEarlyHints)
	c.ok()
}

// stream sends server-sent events `every` so often `for` so long; with `echo=1` each holds the credential.
func (c *call) stream() {
	c.w.Header().Set("Content-Type", "text/event-stream")
	every, until := c.span("every", 50*time.Millisecond), time.Now().Add(c.span("for", 10*time.Second))
	for n := 1; time.Now().Before(until); n++ {
		var said []byte
		if c.text("echo", "") != "" {
			said = c.credential()
			c.log.echoed(c.hit, 1)
		}
		if _, err := fmt.Fprintf(c.w, "id: %d\ndata: {\"time\":%d,\"said\":%q}\n\n", n, time.Now().UnixNano(), said); err != nil {
			return
		}
		c.flush()
		if !c.pause(every) {
			return
		}
	}
}

// duplex sends each piece of the request's body back as it comes.
func (c *call) duplex() {
	_ = http.NewResponseController(c.w).EnableFullDuplex()
	c.w.WriteHeader(http.StatusOK)
	c.flush()
	buffer := make([]byte, 16<<10)
	for {
		n, err := c.r.Body.Read(buffer)
		if _, failed := c.w.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
		c.flush()
	}
}

// early answers before it reads the body: `code`, 413 unless told; `read=1` reads it afterwards all the same.
func (c *call) early() {
	_ = http.NewResponseController(c.w).EnableFullDuplex()
	c.json(c.count("code", http.StatusRequestEntityTooLarge, 599), `{"early":true}`)
	c.flush()
	if c.text("read", "") != "" {
		_, _ = io.Copy(io.Discard, c.r.Body)
	}
}

// cut promises `n` bytes, sends `after` of them and drops the connection.
func (c *call) cut() {
	n, after := c.count("n", 1000, 1<<30), c.count("after", 100, 1<<30)
	if c.text("chunked", "") == "" {
		c.w.Header().Set("Content-Length", fmt.Sprint(n))
	}
	_, _ = io.Copy(c.w, io.LimitReader(&pattern{}, int64(min(after, n))))
	c.flush()
	panic(http.ErrAbortHandler)
}

// hang never answers.
func (c *call) hang() { c.pause(10 * time.Minute) }

// switchProtocols answers 101 to whoever asked to upgrade, and echoes bytes from then on.
func (c *call) switchProtocols() {
	conn, buffered, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		c.json(http.StatusInternalServerError, `{"error":"this connection cannot be switched"}`)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: kl-test\r\n\r\n")
	_, _ = io.Copy(conn, buffered)
}
