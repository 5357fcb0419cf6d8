package wasim

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"go.mau.fi/whatsmeow"
	waBinary "go.mau.fi/whatsmeow/binary"
	"go.mau.fi/whatsmeow/util/cbcutil"
	"go.mau.fi/whatsmeow/util/hkdfutil"
)

const (
	// mediaHost is the name of the media server. It resolves nowhere, so a client that is not set up to dial the simulator
	// for every host fails instead of talking to a stranger.
	mediaHost = "media.wasim.invalid"
	// MaxUploadBytes bounds one encrypted file.
	MaxUploadBytes = 128 << 20

	mediaTTL  = 3600 // seconds a client may use a media connection
	mediaPath = "/v/wasim/"
	// mediaQuery ends a path: clients append to a query that there must be.
	mediaQuery = "?ccb=11-4&oh=sim"
)

var errNoMedia = errors.New("the media server does not have this file")

// mediaStore keeps encrypted files as they were uploaded, by the hash of their bytes: in the journal's file, or in
// memory when there is none.
type mediaStore struct {
	journal *journal
	auth    string

	uploads atomic.Int64 // taken so far

	mu    sync.RWMutex
	files map[string][]byte
}

// Uploads is how many files were uploaded since the server started, each time counted.
func (s *Server) Uploads() int { return int(s.media.uploads.Load()) }

func newMediaStore(j *journal) *mediaStore {
	return &mediaStore{journal: j, files: map[string][]byte{}}
}

// mediaConn tells a client where to upload, and with which token.
func mediaConn(auth string) waBinary.Node {
	return waBinary.Node{
		Tag:     "media_conn",
		Attrs:   waBinary.Attrs{"auth": auth, "ttl": mediaTTL, "auth_ttl": 6 * mediaTTL, "max_buckets": 12},
		Content: []waBinary.Node{{Tag: "host", Attrs: waBinary.Attrs{"hostname": mediaHost}}},
	}
}

func (m *mediaStore) routes(mux *http.ServeMux, faults *faultBook) {
	mux.HandleFunc("POST /mms/{type}/{token}", func(w http.ResponseWriter, r *http.Request) {
		if f := faults.take(func(f *Fault) bool { return f.Kind == UploadError }); f != nil {
			http.Error(w, http.StatusText(f.Code), f.Code)
			return
		}
		m.upload(w, r)
	})
	mux.HandleFunc("GET "+mediaPath+"{id}", m.download)
}

// upload stores a file whose SHA-256 is the token in its path.
func (m *mediaStore) upload(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("auth") != m.auth {
		http.Error(w, "wrong auth", http.StatusForbidden)
		return
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxUploadBytes))
	if err != nil {
		http.Error(w, "cannot read the file", http.StatusBadRequest)
		return
	}
	sum := sha256.Sum256(data)
	token, err := base64.URLEncoding.DecodeString(r.PathValue("token"))
	if err != nil || !bytes.Equal(token, sum[:]) {
		http.Error(w, "the token is not the hash of the file", http.StatusBadRequest)
		return
	}
	id := hex.EncodeToString(sum[:])
	if err := m.put(r.Context(), id, data); err != nil {
		http.Error(w, "cannot store the file", http.StatusInternalServerError)
		return
	}
	m.uploads.Add(1)
	path := mediaPath + id + mediaQuery
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"url": "https://" + mediaHost + path, "direct_path": path, "handle": id}) // a client that hung up
}

func (m *mediaStore) download(w http.ResponseWriter, r *http.Request) {
	data, err := m.get(r.Context(), r.PathValue("id"))
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = w.Write(data) //nolint:gosec // ciphertext as an octet stream, nothing a browser shows; a client that hung up is no error
}

func (m *mediaStore) put(ctx context.Context, id string, data []byte) error {
	if m.journal.db != nil {
		return m.journal.putMedia(ctx, id, data)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[id] = data
	return nil
}

func (m *mediaStore) get(ctx context.Context, id string) ([]byte, error) {
	if m.journal.db != nil {
		data, err := m.journal.media(ctx, id)
		if err != nil {
			return nil, errors.Join(errNoMedia, err)
		}
		return data, nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if data, ok := m.files[id]; ok {
		return data, nil
	}
	return nil, errNoMedia
}

// open downloads and decrypts the file of a message as the phone would, and notes its hash and size, or what is wrong.
func (m *mediaStore) open(shown *Shown, msg whatsmeow.DownloadableMessage, length uint64) {
	plain, err := m.decrypt(msg, length)
	if err != nil {
		shown.MediaError = err.Error()
		return
	}
	sum := sha256.Sum256(plain)
	shown.SHA256, shown.Size = hex.EncodeToString(sum[:]), int64(len(plain))
}

func (m *mediaStore) decrypt(msg whatsmeow.DownloadableMessage, length uint64) ([]byte, error) {
	path, _, _ := strings.Cut(msg.GetDirectPath(), "?")
	id, ok := strings.CutPrefix(path, mediaPath)
	if !ok {
		return nil, errNoMedia
	}
	data, err := m.get(context.Background(), id)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(data); !bytes.Equal(sum[:], msg.GetFileEncSHA256()) {
		return nil, errors.New("the hash of the encrypted file is wrong")
	}
	if len(data) <= macLength || len(msg.GetMediaKey()) != 32 {
		return nil, errors.New("the file or its key is too short")
	}
	okm := hkdfutil.SHA256(msg.GetMediaKey(), nil, []byte(whatsmeow.GetMediaType(msg)), 112)
	iv, cipherKey, macKey := okm[:16], okm[16:48], okm[48:80]
	ciphertext, mac := data[:len(data)-macLength], data[len(data)-macLength:]
	h := hmac.New(sha256.New, macKey)
	h.Write(iv)
	h.Write(ciphertext)
	if !hmac.Equal(h.Sum(nil)[:macLength], mac) {
		return nil, errors.New("the file's authentication code is wrong")
	}
	plain, err := cbcutil.Decrypt(cipherKey, iv, bytes.Clone(ciphertext))
	if err != nil {
		return nil, fmt.Errorf("decrypting the file: %w", err)
	}
	if sum := sha256.Sum256(plain); !bytes.Equal(sum[:], msg.GetFileSHA256()) {
		return nil, errors.New("the hash of the file is wrong")
	}
	if uint64(len(plain)) != length {
		return nil, errors.New("the length of the file is wrong")
	}
	return plain, nil
}

const macLength = 10
