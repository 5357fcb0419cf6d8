package app

import (
	"context"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/wapro/hub/internal/config"
	"github.com/wapro/hub/internal/gateway"
	"github.com/wapro/hub/internal/wasim"
)

// simulate runs the simulator alone: WhatsApp clients connect to SIMULATOR_ADDR, people and tests to HTTP_ADDR.
func (p Program) simulate(ctx context.Context) int {
	cfg, err := config.Load(config.ProcessSimulator, p.Environ)
	if err != nil {
		return p.refuse("%v", err)
	}
	log := p.logger(cfg)
	prepareProcess(log)
	sim, err := wasim.Start(context.WithoutCancel(ctx), wasim.Config{
		Dir: filepath.Join(cfg.DataDir(), "simulator"), Addr: cfg.SimulatorAddr, Log: log,
	})
	if err != nil {
		return p.refuse("start the simulator: %v", err)
	}
	key := cfg.AdminAPIKey
	if key == "" {
		key = gateway.NewKeySecret()
		fmt.Fprintf(p.Stderr, "\nAdmin key of this simulator until it stops (set ADMIN_API_KEY to choose one): %s\n", key)
	}
	s := &simulation{sim: sim, failed: make(chan error, 1)}
	if err := s.serve(ctx, cfg.HTTPAddr, key); err != nil {
		return p.refuse("listen for /sandbox requests: %v", errors.Join(err, sim.Close()))
	}
	log.Info("listening", "name", "whatsapp", "addr", sim.Addr())
	log.Info("listening", "name", "sandbox", "addr", s.addr.String())
	root := sim.RootKey()
	fmt.Fprintf(p.Stdout, "\nStart the hub with these two settings:\n\nWHATSAPP_SERVER=%s\nWHATSAPP_ROOT_KEY=%s\n\n/sandbox routes: http://%s/sandbox/\n\n",
		sim.Addr(), hex.EncodeToString(root[:]), s.addr)
	return p.wait(ctx, log, s)
}

// simulation is a simulator with its HTTP routes.
type simulation struct {
	sim    *wasim.Server
	server *http.Server
	addr   net.Addr
	failed chan error
}

func (s *simulation) serve(ctx context.Context, addr, key string) error {
	mux := http.NewServeMux()
	mux.Handle("/sandbox/", requireKey(key, s.sim.Handler()))
	mux.Handle("GET /livez", liveness())
	mux.Handle("GET /readyz", readiness(nil))
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	s.addr = listener.Addr()
	go func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- err
		}
	}()
	return nil
}

// Failed tells when the listener broke.
func (s *simulation) Failed() <-chan error { return s.failed }

// Stop finishes the requests in hand and closes the simulator.
func (s *simulation) Stop(ctx context.Context) error {
	return errors.Join(s.server.Shutdown(ctx), s.sim.Close())
}

// requireKey lets requests with that x-api-key pass and answers every other with a problem.
func requireKey(key string, next http.Handler) http.Handler {
	want := gateway.HashKey(key)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := gateway.HashKey(r.Header.Get("x-api-key"))
		if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This route needs the simulator's admin key in x-api-key.","code":%q}`+"\n",
			gateway.CodeUnauthorized)
	})
}
