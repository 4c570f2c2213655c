package app

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"

	"keylend.dev/e2e/peers/internal/seek"
)

// What an application can see of its own pod, for the tests that say where a credential is not. The credential is
// never given to this process: it searches by fingerprints.

// search is what /memory and /files take; the fingerprints are what the `fingerprint` applet prints.
type search struct {
	Fingerprints []seek.Fingerprint `json:"fingerprints"`
	Root         string             `json:"root"`
}

func (a *App) getEnviron(w http.ResponseWriter, _ *http.Request) {
	initial, _ := os.ReadFile("/proc/self/environ")
	respond(w, map[string]any{
		"environ":   os.Environ(),
		"initial":   strings.Split(strings.TrimRight(string(initial), "\x00"), "\x00"),
		"arguments": os.Args,
	})
}

// postMemory searches this process's own memory.
func (a *App) postMemory(w http.ResponseWriter, r *http.Request) {
	var wanted search
	if !take(w, r, &wanted) {
		return
	}
	finder, err := seek.NewFingerprints(wanted.Fingerprints)
	if !valid(w, err) {
		return
	}
	report, err := seek.Memory("self", finder, seek.Running)
	if valid(w, err) {
		respond(w, report)
	}
}

// postFiles searches all files this process can read.
func (a *App) postFiles(w http.ResponseWriter, r *http.Request) {
	var wanted search
	if !take(w, r, &wanted) {
		return
	}
	finder, err := seek.NewFingerprints(wanted.Fingerprints)
	if !valid(w, err) {
		return
	}
	if wanted.Root == "" {
		wanted.Root = "/"
	}
	report, err := seek.Tree(wanted.Root, finder)
	if valid(w, err) {
		respond(w, report)
	}
}

// A File is one line of GET /files.
type File struct {
	Path      string `json:"path"`
	Mode      string `json:"mode"`
	Size      int64  `json:"size"`
	Base64    string `json:"base64,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	Error     string `json:"error,omitempty"`
}

// getFiles streams what can be read under `?root=`, at most `?limit=` bytes of each file (32 MiB) and 1 GiB in all.
func (a *App) getFiles(w http.ResponseWriter, r *http.Request) {
	root := r.URL.Query().Get("root")
	if root == "" {
		root = "/"
	}
	limit, err := strconv.ParseInt(r.URL.Query().Get("limit"), 10, 64)
	if err != nil || limit < 0 {
		limit = 32 << 20
	}
	left := int64(1 << 30)
	out := lines(w)
	err = seek.Walk(root, func(path string, entry fs.DirEntry, err error) {
		file := describe(path, entry, err, min(limit, left))
		left -= int64(base64.StdEncoding.DecodedLen(len(file.Base64)))
		out.write(file, false)
	})
	if err != nil {
		out.write(File{Path: root, Error: err.Error()}, true)
	}
}

func describe(path string, entry fs.DirEntry, err error, limit int64) File {
	file := File{Path: path}
	if err != nil {
		file.Error = err.Error()
		return file
	}
	file.Mode = entry.Type().String()
	if info, err := entry.Info(); err == nil {
		file.Mode, file.Size = info.Mode().String(), info.Size()
	}
	if !entry.Type().IsRegular() {
		return file
	}
	opened, err := os.Open(path)
	if err != nil {
		file.Error = err.Error()
		return file
	}
	defer opened.Close()
	var content bytes.Buffer
	n, err := io.CopyN(&content, opened, limit)
	file.Base64 = base64.StdEncoding.EncodeToString(content.Bytes())
	file.Truncated = n == limit && file.Size > n
	if err != nil && !errors.Is(err, io.EOF) {
		file.Error = err.Error()
	}
	return file
}

// plant is a canary for the positive control: kept in memory, or written to a file.
type plant struct {
	Base64 []byte `json:"base64"`
	Path   string `json:"path"`
}

// postPlant makes this process hold a canary, so that a test shows that its searches find.
func (a *App) postPlant(w http.ResponseWriter, r *http.Request) {
	var canary plant
	if !take(w, r, &canary) {
		return
	}
	if canary.Path != "" {
		if !valid(w, os.WriteFile(canary.Path, canary.Base64, 0o600)) {
			return
		}
	} else {
		a.hold(canary.Base64)
	}
	w.WriteHeader(http.StatusNoContent)
}
