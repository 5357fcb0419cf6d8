package wasim

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.mau.fi/whatsmeow/util/keys"
)

// Defaults of Config.
const (
	DefaultAddr      = "127.0.0.1:0"
	DefaultReadDelay = 500 * time.Millisecond
	DefaultSlowDelay = 10 * time.Second
)

// Config says how a simulator runs. The zero value works: in memory, on a free port of the loopback interface.
type Config struct {
	// Dir is where the state is kept, in one SQLite file. Empty: in memory, gone with the process. One process per folder.
	Dir string
	// Addr is the TCP address clients connect to over TLS, DefaultAddr when empty.
	Addr string
	// Log receives what happens, without message text or keys. Nil discards.
	Log *slog.Logger
	// RootKey, when not zero, is the private key that signs the Noise certificates; it wins over a stored one. Otherwise the
	// key is made once and kept in Dir. A process has one trust anchor, so tests fix it.
	RootKey [32]byte
	// ReceiptDelay is the time between the server's acceptance of a message and the phone's delivery receipt.
	ReceiptDelay time.Duration
	// ReadDelay is the time between the delivery receipt and the read receipt, and again to the played receipt of a voice
	// note. 0 is DefaultReadDelay, negative means that phones never read.
	ReadDelay time.Duration
	// SlowDelay is how late the slow test number's receipts are, DefaultSlowDelay when 0.
	SlowDelay time.Duration
	// ResolveQR, when set, gives the QR code that a tenant shows at the moment, for POST /sandbox/pair with a tenantId.
	ResolveQR func(ctx context.Context, tenantID string) (qr string, err error)
}

func (c Config) withDefaults() Config {
	if c.Addr == "" {
		c.Addr = DefaultAddr
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.ReadDelay == 0 {
		c.ReadDelay = DefaultReadDelay
	}
	if c.SlowDelay == 0 {
		c.SlowDelay = DefaultSlowDelay
	}
	return c
}

// Server is a running simulator. Its methods may be called from any goroutine.
type Server struct {
	cfg      Config
	log      *slog.Logger
	journal  *journal
	root     *keys.KeyPair
	noise    *noiseIdentity
	listener net.Listener
	http     *http.Server
	media    *mediaStore
	faults   *faultBook
	receipts *receiptClock
	seq      atomic.Uint64
	conns    connSet
	online   broadcast // a device logged in or went away

	mu       sync.RWMutex
	accounts map[string]*account // by number
	lids     map[string]*account
	groups   map[string]*group    // by the JID's user part
	refs     map[string]*conn     // by pairing reference
	links    map[string]*linkCode // by the number whose phone is to enter a code

	closing sync.Once
	stopped error
	wg      sync.WaitGroup
}

// Start loads the state and listens. ctx bounds the start alone; Close ends the server.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	j, err := openJournal(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, journal: j, media: newMediaStore(j), faults: newFaultBook(),
		accounts: map[string]*account{}, lids: map[string]*account{}, groups: map[string]*group{}, refs: map[string]*conn{}, links: map[string]*linkCode{},
	}
	s.receipts = newReceiptClock(s)
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return fmt.Errorf("loading the simulator's state: %w", err)
	}
	s.media.auth = hex.EncodeToString(hmacSum(s.root.Priv[:], "media auth")) // the same after a restart: clients keep it
	var err error
	if s.noise, err = newNoiseIdentity(s.root); err != nil {
		return err
	}
	cert, err := selfSignedTLS()
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	s.listener, err = lc.Listen(ctx, "tcp", s.cfg.Addr)
	if err != nil {
		return fmt.Errorf("listening for WhatsApp clients: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws/chat", s.serveSocket)
	s.media.routes(mux, s.faults)
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){}, // web sockets need HTTP/1.1
	}
	s.wg.Go(s.receipts.run)
	s.wg.Go(func() {
		if err := s.http.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the simulator stopped listening", "error", err)
		}
	})
	s.log.Info("WhatsApp simulator listens", "addr", s.Addr())
	return nil
}

// Addr is the host:port that clients dial.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// RootKey is the public key that the Noise certificate chain ends in, for whatsmeow.WACertPubKey.
func (s *Server) RootKey() [32]byte { return *s.root.Pub }

// Close cuts every connection and stops. What was acknowledged is on disk already. Closing twice is harmless.
func (s *Server) Close() error {
	s.closing.Do(func() {
		// Clients first: nothing new comes in, then what they caused, then the file.
		err := s.http.Close()
		s.conns.closeAll()
		s.receipts.stop()
		s.wg.Wait()
		s.stopped = errors.Join(err, s.journal.close())
	})
	return s.stopped
}

// HTTPClient returns a client that dials the simulator whatever the URL's host is and does not check its TLS
// certificate: what an unmodified whatsmeow needs for its web socket and media connections.
func (s *Server) HTTPClient() *http.Client { return HTTPClient(s.Addr()) }

// HTTPClient is Server.HTTPClient for a simulator in another process. Close idle connections of its transport when done.
func HTTPClient(addr string) *http.Client {
	var d net.Dialer
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return d.DialContext(ctx, network, addr)
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the Noise chain authenticates the server
		ForceAttemptHTTP2: false,
		IdleConnTimeout:   time.Second,
	}}
}

// Connected tells whether a companion device of the number is logged in.
func (s *Server) Connected(number string) bool {
	a, ok := s.existing(number)
	if !ok {
		return false
	}
	for _, d := range a.companions() {
		if d.connection() != nil {
			return true
		}
	}
	return false
}

// WaitConnected waits until Connected(number) is want.
func (s *Server) WaitConnected(ctx context.Context, number string, want bool) error {
	for {
		changed := s.online.wait()
		if s.Connected(number) == want {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the connection of %s: %w", number, ctx.Err())
		}
	}
}

// Pending is how many stanzas wait for the confirmation of the number's companion devices.
func (s *Server) Pending(number string) int {
	a, ok := s.existing(number)
	if !ok {
		return 0
	}
	n := 0
	for _, d := range a.companions() {
		d.mu.Lock()
		n += len(d.queue)
		d.mu.Unlock()
	}
	return n
}

// existing is account without making one.
func (s *Server) existing(number string) (*account, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a, ok := s.accounts[digits(number)]
	return a, ok
}

func hmacSum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
