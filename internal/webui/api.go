package webui

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// maxAnswer bounds what a page takes from the API at once.
const maxAnswer = 8 << 20

// problem is the API's refusal (RFC 9457).
type problem struct {
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"requestId"`
	Status    int    `json:"status"`
	Errors    []struct {
		Pointer string `json:"pointer"`
		Detail  string `json:"detail"`
	} `json:"errors"`
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Code, p.Detail) }

// get asks the API as the visitor and decodes its answer into out. A refusal is a *problem. path is escaped already.
func (v *visit) get(path string, out any) error { return v.call(http.MethodGet, path, nil, out) }

// call is get with a method and a body, sent as JSON unless it is nil. out may be nil.
func (v *visit) call(method, path string, body, out any) error {
	answer, err := v.ask(method, path, "application/json", body)
	if err != nil {
		return err
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("decode the answer of %s %s: %w", method, path, err)
	}
	return nil
}

// ask asks the API as the visitor for an answer of that type. What others' pages make a browser send never comes here: the router
// has refused it.
func (v *visit) ask(method, path, accept string, body any) ([]byte, error) {
	var reader io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("render the body of %s %s: %w", method, path, err)
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(v.r.Context(), method, path, reader)
	if err != nil {
		return nil, fmt.Errorf("ask the API: %w", err)
	}
	req.Host, req.RemoteAddr, req.RequestURI = v.r.Host, v.r.RemoteAddr, path
	req.Header.Set("Accept", accept)
	req.Header.Set("X-Request-Id", v.requestID)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if v.token != "" {
		req.AddCookie(&http.Cookie{Name: v.cookie, Value: v.token}) //nolint:gosec // attributes are for answers, this is a request
	}
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	v.api.ServeHTTP(w, req)
	if w.over {
		return nil, fmt.Errorf("the answer of %s %s is larger than %d bytes", method, path, maxAnswer)
	}
	if w.status < http.StatusBadRequest {
		return w.body.Bytes(), nil
	}
	p := &problem{}
	if err := json.Unmarshal(w.body.Bytes(), p); err != nil || p.Code == "" {
		return nil, errors.Join(fmt.Errorf("%s %s answered %d", method, path, w.status), err)
	}
	p.Status = w.status
	return nil, p
}

// recorder keeps an answer of the API.
type recorder struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
	over   bool
}

func (r *recorder) Header() http.Header { return r.header }

func (r *recorder) WriteHeader(status int) {
	if !r.wrote {
		r.status, r.wrote = status, true
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.wrote = true
	if r.body.Len()+len(b) > maxAnswer {
		r.over = true
		return 0, io.ErrShortWrite
	}
	return r.body.Write(b)
}

// titleOf is a code as people read it: not_found is "Not found".
func titleOf(code string) string {
	words := strings.ReplaceAll(code, "_", " ")
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + words[1:]
}
