package app

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"
)

// probeTimeout bounds each dependency's check in /readyz.
const probeTimeout = 2 * time.Second

// probe is one dependency of readiness.
type probe struct {
	name     string
	required bool // not ready without it; the others are reported only
	// check returns an error when the dependency does not answer, else what to report of it; empty means ok.
	check func(context.Context) (report string, err error)
}

// opsHandler serves the private listener: liveness, readiness, metrics and profiles.
func opsHandler(probes []probe, metrics http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", liveness())
	mux.Handle("GET /readyz", readiness(probes))
	mux.Handle("GET /metrics", metrics)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

func liveness() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeReport(w, http.StatusOK, map[string]string{"status": "alive"})
	})
}

// readiness answers 200 when every required probe passes, 503 otherwise, and tells each probe's result. Causes are
// not shown: this is also served where anybody may ask.
func readiness(probes []probe) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		report := map[string]string{"status": "ready"}
		status := http.StatusOK
		for _, p := range probes {
			ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
			state, err := p.check(ctx)
			cancel()
			switch {
			case err == nil:
				report[p.name] = cmp.Or(state, "ok")
			case p.required:
				report[p.name], report["status"], status = "unreachable", "not ready", http.StatusServiceUnavailable
			default:
				report[p.name] = "unreachable"
			}
		}
		writeReport(w, status, report)
	})
}

func writeReport(w http.ResponseWriter, status int, report map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(report) // an error means that the prober is gone
}
