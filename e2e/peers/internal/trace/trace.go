// Package trace makes and reads W3C trace contexts: what joins a call of the application, an audit row and a hit.
package trace

import (
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// New begins a trace. Reading from the system's source does not fail.
func New() string {
	var ids [24]byte
	_, _ = rand.Read(ids[:])
	return "00-" + hex.EncodeToString(ids[:16]) + "-" + hex.EncodeToString(ids[16:]) + "-01"
}

// ID is the part of a traceparent that stays the same on the way, or empty.
func ID(traceparent string) string {
	parts := strings.Split(traceparent, "-")
	if len(parts) < 4 || len(parts[1]) != 32 {
		return ""
	}
	return parts[1]
}
