package wasim

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

const maxBody = 1 << 20

// Handler serves the /sandbox routes: what phones show, what they send, pairing, groups, faults. It has no authentication;
// the caller puts that in front.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sandbox/phones", s.getPhones)
	mux.HandleFunc("GET /sandbox/phones/{number}/messages", s.getMessages)
	mux.HandleFunc("POST /sandbox/phones/{number}/messages", s.postMessage)
	mux.HandleFunc("POST /sandbox/phones/{number}/ask", s.postAsk)
	mux.HandleFunc("GET /sandbox/test-numbers", func(w http.ResponseWriter, _ *http.Request) { writeData(w, TestNumbers()) })
	mux.HandleFunc("POST /sandbox/pair", s.postPair)
	mux.HandleFunc("POST /sandbox/groups", s.postGroup)
	mux.HandleFunc("GET /sandbox/groups", s.getGroups)
	mux.HandleFunc("POST /sandbox/faults", s.postFault)
	mux.HandleFunc("GET /sandbox/faults", s.getFaults)
	mux.HandleFunc("DELETE /sandbox/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// phoneView is a number that was used.
type phoneView struct {
	Number    string `json:"number"`
	LID       string `json:"lid"`
	Devices   []int  `json:"devices"` // indexes of the companions
	Connected bool   `json:"connected"`
	Pending   int    `json:"pending"` // stanzas the companions did not confirm yet
	Asked     int64  `json:"asked"`   // how often companions could not decrypt what this phone sent, and asked for it again
}

func (s *Server) getPhones(w http.ResponseWriter, _ *http.Request) {
	out := []phoneView{}
	for _, a := range s.allAccounts() {
		v := phoneView{Number: a.number, LID: a.lidJID(0).String(), Devices: []int{}, Connected: s.Connected(a.number), Pending: s.Pending(a.number), Asked: a.asked.Load()}
		for _, d := range a.companions() {
			v.Devices = append(v.Devices, int(d.index))
		}
		out = append(out, v)
	}
	writeData(w, out)
}

func (s *Server) getMessages(w http.ResponseWriter, r *http.Request) {
	number, ok := numberOf(w, r)
	if !ok {
		return
	}
	shown := s.Shown(number)
	if shown == nil {
		shown = []Shown{}
	}
	writeData(w, shown)
}

func (s *Server) postMessage(w http.ResponseWriter, r *http.Request) {
	number, ok := numberOf(w, r)
	if !ok {
		return
	}
	var in struct {
		To string `json:"to"`
		Outgoing
	}
	if !readJSON(w, r, &in) {
		return
	}
	if in.To == "" {
		writeProblem(w, http.StatusBadRequest, "invalid_body", "to is needed")
		return
	}
	id, err := s.Send(r.Context(), number, in.To, in.Outgoing)
	if errors.Is(err, errNothingToSend) {
		writeProblem(w, http.StatusBadRequest, "invalid_body", err.Error())
		return
	}
	if err != nil {
		writeProblem(w, http.StatusUnprocessableEntity, "invalid_recipient", err.Error())
		return
	}
	writeJSON(w, http.StatusCreated, map[string]string{"id": id})
}

func (s *Server) postAsk(w http.ResponseWriter, r *http.Request) {
	if number, ok := numberOf(w, r); ok {
		s.AskAgain(number)
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) postPair(w http.ResponseWriter, r *http.Request) {
	var in struct {
		TenantID string `json:"tenantId"`
		QR       string `json:"qr"`
		Code     string `json:"code"`
		Number   string `json:"number"`
	}
	if !readJSON(w, r, &in) {
		return
	}
	if in.QR == "" && in.Code == "" && in.TenantID != "" && s.cfg.ResolveQR != nil {
		qr, err := s.cfg.ResolveQR(r.Context(), in.TenantID)
		if err != nil {
			writeProblem(w, http.StatusConflict, "not_pairing", err.Error())
			return
		}
		in.QR = qr
	}
	if (in.QR == "") == (in.Code == "") || in.Number == "" {
		writeProblem(w, http.StatusBadRequest, "invalid_body", "number and either qr (or a tenantId, where tenants are known) or code are needed")
		return
	}
	pair, shown := s.Pair, in.QR
	if in.Code != "" {
		pair, shown = s.PairCode, in.Code
	}
	switch err := pair(r.Context(), shown, in.Number); {
	case errors.Is(err, ErrUnknownQR), errors.Is(err, ErrNoCodeWanted):
		writeProblem(w, http.StatusConflict, "not_pairing", err.Error())
	case err != nil:
		writeProblem(w, http.StatusUnprocessableEntity, "pairing_failed", err.Error())
	default:
		writeJSON(w, http.StatusOK, map[string]string{"number": digits(in.Number)})
	}
}

func (s *Server) postGroup(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Owner   string   `json:"owner"`
		Members []string `json:"members"`
		Subject string   `json:"subject"`
	}
	if !readJSON(w, r, &in) {
		return
	}
	jid, err := s.CreateNamedGroup(r.Context(), in.Subject, in.Owner, in.Members...)
	if err != nil {
		writeProblem(w, http.StatusUnprocessableEntity, "invalid_recipient", err.Error())
		return
	}
	writeJSON(w, http.StatusCreated, map[string]string{"jid": jid})
}

// groupView is a group as the routes show it.
type groupView struct {
	JID     string   `json:"jid"`
	Subject string   `json:"subject"`
	Owner   string   `json:"owner"`
	Members []string `json:"members"`
}

func (s *Server) getGroups(w http.ResponseWriter, _ *http.Request) {
	out := []groupView{}
	for _, g := range s.allGroups() {
		out = append(out, groupView{JID: g.jid().String(), Subject: g.Subject, Owner: g.Creator, Members: g.Members})
	}
	writeData(w, out)
}

// faultView is a Fault as the routes read and show it.
type faultView struct {
	ID            string    `json:"id,omitempty"`
	Kind          FaultKind `json:"kind"`
	Account       string    `json:"account,omitempty"`
	To            string    `json:"to,omitempty"`
	Number        string    `json:"number,omitempty"` // another name of to
	Match         string    `json:"match,omitempty"`
	Times         *int      `json:"times,omitempty"` // absent: once, 0 or less: until cleared
	DelayMs       int64     `json:"delayMs,omitempty"`
	Code          int       `json:"code,omitempty"`
	Conflict      string    `json:"conflict,omitempty"`
	ExpireSeconds int64     `json:"expireSeconds,omitempty"`
	Remaining     int       `json:"remaining,omitempty"` // -1: until cleared
}

func (s *Server) postFault(w http.ResponseWriter, r *http.Request) {
	var in faultView
	if !readJSON(w, r, &in) {
		return
	}
	f := Fault{
		Kind: in.Kind, Account: in.Account, To: in.To, Match: in.Match, Code: in.Code, Conflict: in.Conflict,
		Delay: time.Duration(in.DelayMs) * time.Millisecond, Expire: time.Duration(in.ExpireSeconds) * time.Second,
	}
	if f.To == "" {
		f.To = in.Number
	}
	if in.Times != nil {
		if f.Times = *in.Times; f.Times == 0 {
			f.Times = -1
		}
	}
	id, err := s.Script(f)
	if err != nil {
		writeProblem(w, http.StatusBadRequest, "invalid_fault", err.Error())
		return
	}
	writeJSON(w, http.StatusCreated, map[string]string{"id": id})
}

func (s *Server) getFaults(w http.ResponseWriter, _ *http.Request) {
	out := []faultView{}
	for _, f := range s.Faults() {
		out = append(out, faultView{
			ID: f.ID, Kind: f.Kind, Account: f.Account, To: f.To, Match: f.Match, DelayMs: f.Delay.Milliseconds(), Code: f.Code,
			Conflict: f.Conflict, ExpireSeconds: int64(f.Expire / time.Second), Remaining: f.Remaining,
		})
	}
	writeData(w, out)
}

func numberOf(w http.ResponseWriter, r *http.Request) (string, bool) {
	number := digits(r.PathValue("number"))
	if !validNumber(number) {
		writeProblem(w, http.StatusBadRequest, "invalid_recipient", "that is not a phone number")
		return "", false
	}
	return number, true
}

func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		writeProblem(w, http.StatusBadRequest, "invalid_body", err.Error())
		return false
	}
	return true
}

func writeData(w http.ResponseWriter, data any) {
	writeJSON(w, http.StatusOK, map[string]any{"data": data})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a caller that hung up
}

func writeProblem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // a caller that hung up
		"type": "about:blank", "title": http.StatusText(status), "status": status, "code": code, "detail": detail,
	})
}
