package origin

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// mostConnections bounds how many connections are kept.
const mostConnections = 20_000

// A Connection is one that was accepted, whether or not a request came over it.
type Connection struct {
	ID       uint64 `json:"id"`
	Remote   string `json:"remote"`
	Local    string `json:"local"`
	Accepted int64  `json:"accepted"` // unix nanoseconds
	Closed   int64  `json:"closed"`   // the same; 0 while it is open
	SNI      string `json:"sni"`
	Requests uint64 `json:"requests"`
	BytesIn  uint64 `json:"bytes_in"` // as on the wire, TLS included
	LastIn   int64  `json:"last_in"`  // when the last of them came
}

// Connections keeps what was accepted.
type Connections struct {
	mu       sync.Mutex
	kept     []*Connection
	accepted uint64
}

// track wraps a listener so that its connections are recorded.
func (c *Connections) track(inner net.Listener) net.Listener { return trackedListener{inner, c} }

func (c *Connections) list() []Connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Connection, 0, len(c.kept))
	for _, connection := range c.kept {
		all = append(all, *connection)
	}
	return all
}

func (c *Connections) count() (accepted uint64, open int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, connection := range c.kept {
		if connection.Closed == 0 {
			open++
		}
	}
	return c.accepted, open
}

func (c *Connections) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	open := c.kept[:0]
	for _, connection := range c.kept {
		if connection.Closed == 0 {
			open = append(open, connection)
		}
	}
	clear(c.kept[len(open):])
	c.kept, c.accepted = open, uint64(len(open))
}

type trackedListener struct {
	net.Listener
	connections *Connections
}

func (l trackedListener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.connections.accept(inner), nil
}

var lastID struct {
	sync.Mutex
	id uint64
}

func nextID() uint64 {
	lastID.Lock()
	defer lastID.Unlock()
	lastID.id++
	return lastID.id
}

func (c *Connections) accept(inner net.Conn) *trackedConn {
	seen := &Connection{
		ID:       nextID(),
		Remote:   inner.RemoteAddr().String(),
		Local:    inner.LocalAddr().String(),
		Accepted: time.Now().UnixNano(),
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted++
	if len(c.kept) == mostConnections {
		c.kept = append(c.kept[:0], c.kept[1:]...)
	}
	c.kept = append(c.kept, seen)
	return &trackedConn{inner, c, seen}
}

type trackedConn struct {
	net.Conn
	connections *Connections
	seen        *Connection
}

func (c *trackedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.update(func(seen *Connection) { seen.BytesIn += uint64(n); seen.LastIn = time.Now().UnixNano() })
	}
	return n, err
}

func (c *trackedConn) Close() error {
	c.update(func(seen *Connection) {
		if seen.Closed == 0 {
			seen.Closed = time.Now().UnixNano()
		}
	})
	return c.Conn.Close()
}

func (c *trackedConn) update(change func(*Connection)) {
	c.connections.mu.Lock()
	defer c.connections.mu.Unlock()
	change(c.seen)
}

type connectionKey struct{}

// remember puts the connection where a request's handler finds it.
func remember(ctx context.Context, conn net.Conn) context.Context {
	if over, ok := conn.(*tls.Conn); ok {
		conn = over.NetConn()
	}
	return context.WithValue(ctx, connectionKey{}, conn)
}

// noteName records the name asked for in a handshake, even when that never completes.
func noteName(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if conn, ok := hello.Conn.(*trackedConn); ok {
		conn.update(func(seen *Connection) { seen.SNI = hello.ServerName })
	}
	return nil, nil
}

// onConnection fills in what the request's connection tells.
func (h *Hit) onConnection(r *http.Request) {
	if conn, ok := r.Context().Value(connectionKey{}).(*trackedConn); ok {
		conn.update(func(seen *Connection) {
			seen.Requests++
			h.Connection, h.RequestOnConnection = seen.ID, seen.Requests
		})
	}
	if r.TLS != nil {
		h.SNI, h.Resumed = canonical(r.TLS.ServerName), r.TLS.DidResume
		h.TLS = tls.VersionName(r.TLS.Version)
	}
}
