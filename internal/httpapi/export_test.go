package httpapi

import (
	"encoding/binary"
	"net/http"
	"time"

	"github.com/wapro/hub/internal/gateway"
)

// StatusOf is the table of which code answers with which HTTP status, for the test of the catalogue.
var StatusOf = statusOf

// RenderAccepted is the body of the answer to an accepted message, RenderModel what the encoder makes of the model of it.
func RenderAccepted(m *gateway.Message) string { return string(accepted(m).Body) }

func RenderModel(m *gateway.Message) string {
	return string(jsonAnswer(http.StatusOK, message(m)).Body)
}

// ReadCursor, WriteCursor and IdempotencyKey read what callers send, for the fuzzers.
var (
	ReadCursor     = readCursor
	WriteCursor    = writeCursor
	IdempotencyKey = idempotencyKey
)

// UnknownKeysKept is how many are remembered after so many came.
func UnknownKeysKept(came int) int {
	cache := newKeyCache(time.Hour, time.Now)
	for i := range came {
		var hash [32]byte
		binary.BigEndian.PutUint64(hash[:], uint64(i))
		cache.putUnknown(hash, cache.age())
	}
	return len(cache.unknown)
}

// Routed are the routes of the router, as "METHOD /path/:name".
func (s *Server) Routed() []string {
	var all []string
	for _, r := range s.echo.Routes() {
		all = append(all, r.Method+" "+r.Path)
	}
	return all
}
