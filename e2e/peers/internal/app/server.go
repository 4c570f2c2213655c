package app

import (
	"context"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"sync"
	"time"

	"keylend.dev/e2e/peers/internal/lifecycle"
)

// App is the long-running caller.
type App struct {
	mu   sync.Mutex
	next int
	runs map[int]stopping
	held [][]byte
}

// stopping ends a run: softly, so that no call begins, or at once.
type stopping struct{ soft, hard context.CancelFunc }

// Main runs the `caller` applet.
func Main(args []string) error {
	set := flag.NewFlagSet("caller", flag.ContinueOnError)
	control := set.String("control", ":8080", "address of the control listener")
	endsWithStdin := set.Bool("ends-with-stdin", false, "end when standard input does")
	if err := set.Parse(args); err != nil {
		return err
	}
	ctx, cancel := lifecycle.Context()
	defer cancel()
	if *endsWithStdin {
		ctx = lifecycle.WithStandardInput(ctx)
	}
	listener, err := net.Listen("tcp", *control)
	if err != nil {
		return err
	}
	app := New()
	server := &http.Server{Handler: app.Handler(), ReadHeaderTimeout: 10 * time.Second}
	server.RegisterOnShutdown(func() { app.stopAll(false) })
	if err := lifecycle.Announce(map[string]any{"control": listener.Addr().String()}); err != nil {
		return err
	}
	return lifecycle.Run(ctx, lifecycle.HTTP(server, func() error { return server.Serve(listener) }))
}

// New makes an application that has done nothing yet.
func New() *App { return &App{runs: map[int]stopping{}} }

// Handler is the control listener's.
func (a *App) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", a.postRun)
	mux.HandleFunc("POST /stream", a.postStream)
	mux.HandleFunc("POST /raw", a.postRaw)
	mux.HandleFunc("POST /stop", a.postStop)
	mux.HandleFunc("GET /environ", a.getEnviron)
	mux.HandleFunc("GET /files", a.getFiles)
	mux.HandleFunc("POST /files", a.postFiles)
	mux.HandleFunc("POST /memory", a.postMemory)
	mux.HandleFunc("POST /plant", a.postPlant)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { respond(w, "ok") })
	return mux
}

// running registers a run: ctx ends it at once, begin ends only what has not begun.
func (a *App) running(parent context.Context) (ctx, begin context.Context, done func()) {
	ctx, hard := context.WithCancel(parent)
	begin, soft := context.WithCancel(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	id := a.next
	a.next++
	a.runs[id] = stopping{soft, hard}
	return ctx, begin, func() {
		hard()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.runs, id)
	}
}

// stopAll stops every run and says how many there were.
func (a *App) stopAll(now bool) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, run := range a.runs {
		run.soft()
		if now {
			run.hard()
		}
	}
	return len(a.runs)
}

// postStop begins no more calls in any run; `?now=1` aborts those under way as well.
func (a *App) postStop(w http.ResponseWriter, r *http.Request) {
	respond(w, map[string]int{"stopped": a.stopAll(r.URL.Query().Get("now") != "")})
}

func (a *App) hold(canary []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.held) < 1000 {
		a.held = append(a.held, canary)
	}
}

// take reads the body as JSON, strictly, or answers 400.
func take(w http.ResponseWriter, r *http.Request, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<20))
	decoder.DisallowUnknownFields()
	return valid(w, decoder.Decode(into))
}

func valid(w http.ResponseWriter, err error) bool {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
	return err == nil
}

func respond(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body)
}
