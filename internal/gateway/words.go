package gateway

import (
	"slices"
	"strings"
	"unicode"
)

// Bounds of the words of a tenant.
const (
	MaxWords     = 50
	MaxWordBytes = 64
)

// Words are what a recipient can write, as the whole of a message, to get no bulk messages any more, or to get them again. Nil lists, and nil
// Words, mean the defaults; empty lists that no word does. They are not changed once made.
type Words struct {
	Stop  []string `json:"stop,omitzero"`
	Start []string `json:"start,omitzero"`
}

// DefaultStopWords are those of the languages that most people write.
func DefaultStopWords() []string {
	return []string{
		"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPT OUT", "OPTOUT",
		"STOPP", "ABMELDEN", "ABBESTELLEN", "ARRET", "ARRÊT", "DESABONNER", "DÉSABONNER", "BAJA", "ALTO", "PARAR", "SAIR", "CANCELAR", "DISISCRIVIMI", "BERHENTI", "СТОП",
	}
}

// DefaultStartWords take a stop back.
func DefaultStartWords() []string {
	return []string{"START", "UNSTOP", "SUBSCRIBE", "ANMELDEN", "ALTA"}
}

// StopWords are the words that end bulk messages.
func (w *Words) StopWords() []string {
	if w == nil || w.Stop == nil {
		return DefaultStopWords()
	}
	return w.Stop
}

// StartWords are the words that take that back.
func (w *Words) StartWords() []string {
	if w == nil || w.Start == nil {
		return DefaultStartWords()
	}
	return w.Start
}

// Change is what text does as the whole of a message: a stop word wins over a start word.
func (w *Words) Change(text string) OptOutChange {
	if len(text) > 4*MaxWordBytes { // the common case
		return OptOutNone
	}
	folded := foldWord(text)
	if folded == "" {
		return OptOutNone
	}
	is := func(word string) bool { return foldWord(word) == folded }
	switch {
	case slices.ContainsFunc(w.StopWords(), is):
		return OptOutAdded
	case slices.ContainsFunc(w.StartWords(), is):
		return OptOutEnded
	}
	return OptOutNone
}

// foldWord makes words that people take for the same the same: without the case, the spaces around and between, and the marks at the end.
func foldWord(s string) string {
	s = strings.TrimFunc(s, func(r rune) bool { return unicode.IsSpace(r) || r == '.' || r == '!' || r == '"' || r == '\'' })
	return strings.ToLower(strings.ToUpper(strings.Join(strings.Fields(s), " ")))
}
