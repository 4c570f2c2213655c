package script

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"keylend.dev/e2e/peers/internal/lifecycle"
	"keylend.dev/e2e/peers/internal/pki"
)

const (
	mostQueued      = 100_000
	mostConnections = 20_000
	// mostKept bounds the received bytes of all kept connections together; the oldest go first.
	mostKept = 256 << 20
)

// Server gives each connection the next script of the queue, or the standing one.
type Server struct {
	config *tls.Config

	mu       sync.Mutex
	queue    []Script
	standing Script
	kept     []*connection
	accepted uint64 // since the last DELETE
	lastID   uint64
}

// Main runs the `raw-upstream` applet.
func Main(args []string) error {
	set := flag.NewFlagSet("raw-upstream", flag.ContinueOnError)
	listen := set.String("listen", ":443", "address of the TLS listener")
	control := set.String("control", ":8081", "address of the control listener")
	source := pki.SourceFrom(set)
	endsWithStdin := set.Bool("ends-with-stdin", false, "end when standard input does")
	if err := set.Parse(args); err != nil {
		return err
	}
	ctx, cancel := lifecycle.Context()
	defer cancel()
	if *endsWithStdin {
		ctx = lifecycle.WithStandardInput(ctx)
	}
	authority, leaf, err := source.Load(time.Now())
	if err != nil {
		return err
	}
	server := &Server{config: &tls.Config{Certificates: []tls.Certificate{leaf}, NextProtos: []string{"http/1.1"}}}
	return server.run(ctx, *listen, *control, authority)
}

func (s *Server) run(ctx context.Context, listen, control string, authority []byte) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	controlListener, err := net.Listen("tcp", control)
	if err != nil {
		return err
	}
	controlServer := &http.Server{Handler: s.handler(authority), ReadHeaderTimeout: 10 * time.Second}
	err = lifecycle.Announce(map[string]any{
		"listening": []string{listener.Addr().String()}, "control": controlListener.Addr().String(), "ca": string(authority),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return lifecycle.Run(ctx,
		lifecycle.Service{
			Serve:    func() error { return s.serve(ctx, listener) },
			Shutdown: func(context.Context) error { return listener.Close() },
			Close:    listener.Close,
		},
		lifecycle.HTTP(controlServer, func() error { return controlServer.Serve(controlListener) }))
}

func (s *Server) serve(ctx context.Context, listener net.Listener) error {
	for {
		accepted, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return http.ErrServerClosed
		}
		if err != nil {
			return err
		}
		tcp, ok := accepted.(*net.TCPConn)
		if !ok {
			return fmt.Errorf("accepted a %T", accepted)
		}
		c, script := s.admit(tcp)
		go c.run(ctx, script)
	}
}

func (s *Server) admit(tcp *net.TCPConn) (*connection, Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted++
	s.lastID++
	c := &connection{
		id: s.lastID, accepted: time.Now(), remote: tcp.RemoteAddr().String(),
		tcp: tcp, tls: tls.Server(tcp, s.config),
		changed: make(chan struct{}), stalled: make(chan struct{}),
	}
	s.kept = append(s.kept, c)
	if s.lastID%64 == 0 {
		s.trim()
	}
	script := s.standing
	if len(s.queue) > 0 {
		script, s.queue = s.queue[0], s.queue[1:]
	}
	return c, script
}

// trim forgets the oldest connections beyond what may be kept.
func (s *Server) trim() {
	bytes := 0
	for _, c := range s.kept {
		c.mu.Lock()
		bytes += len(c.received)
		c.mu.Unlock()
	}
	for len(s.kept) > mostConnections || bytes > mostKept {
		bytes -= len(s.kept[0].received)
		s.kept = append(s.kept[:0], s.kept[1:]...)
	}
}

func (s *Server) handler(authority []byte) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /scripts", s.postScripts)
	mux.HandleFunc("GET /connections", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.list()) })
	mux.HandleFunc("DELETE /connections", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.kept, s.accepted = nil, 0
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /count", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		answer(w, map[string]uint64{"connections_accepted": s.accepted, "scripts_queued": uint64(len(s.queue))})
	})
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(authority) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, "ok") })
	return mux
}

// postScripts replaces the queue and the standing script.
func (s *Server) postScripts(w http.ResponseWriter, r *http.Request) {
	var given struct {
		Scripts  []Script `json:"scripts"`
		Standing Script   `json:"standing"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<20))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&given)
	for i, script := range append(given.Scripts, given.Standing) {
		if wrong := script.check(); wrong != nil {
			err = errors.Join(err, fmt.Errorf("script %d: %w", i, wrong))
		}
	}
	if err != nil || len(given.Scripts) > mostQueued {
		http.Error(w, fmt.Sprintf("not taken: %v", err), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue, s.standing = given.Scripts, given.Standing
	answer(w, map[string]int{"scripts_queued": len(s.queue)})
}

func (s *Server) list() []Seen {
	s.mu.Lock()
	kept := append([]*connection{}, s.kept...)
	s.mu.Unlock()
	seen := make([]Seen, 0, len(kept))
	for _, c := range kept {
		seen = append(seen, c.seen())
	}
	return seen
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}
