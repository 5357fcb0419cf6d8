package webui

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assetFiles embed.FS

// assets serves the embedded files under names that hold the hash of their content: a browser may keep them for ever.
type assets struct {
	paths map[string]string // app.css -> /assets/app.0123456789ab.css
	files map[string]asset  // by path
}

type asset struct {
	content []byte
	kind    string
}

func loadAssets() (*assets, error) {
	a := &assets{paths: map[string]string{}, files: map[string]asset{}}
	files, err := fs.ReadDir(assetFiles, "assets")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		content, err := assetFiles.ReadFile("assets/" + file.Name())
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		ext := path.Ext(file.Name())
		p := "/assets/" + strings.TrimSuffix(file.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		kind, ok := map[string]string{
			".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8",
		}[ext]
		if !ok {
			return nil, fmt.Errorf("of which type is %s?", file.Name())
		}
		a.paths[file.Name()], a.files[p] = p, asset{content, kind}
	}
	return a, nil
}

// path is where the asset of that name is; one that is not there fails the page, and its test.
func (a *assets) path(name string) (string, error) {
	p, ok := a.paths[name]
	if !ok {
		return "", fmt.Errorf("there is no asset %s", name)
	}
	return p, nil
}

func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	file, ok := a.files[r.URL.Path]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h.Set("Content-Type", file.kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.content))
}
