package webui_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestAWebhookIsMadeTestedAndSentAgain, and enabled after it was disabled, all with the mouse.
func TestAWebhookIsMadeTestedAndSentAgain(t *testing.T) {
	t.Parallel()
	channel(t, "hooks", "")
	posts := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		posts <- r.Header.Get("Webhook-Id")
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(receiver.Close)
	tab := window(t, adminKey)
	tab.Open("/channels/hooks/webhooks")
	tab.Fill("#url", receiver.URL+"/hub")
	tab.Click("input[name=events][value='bulk.*']")
	tab.Click("#create-webhook button")
	tab.Until("the secret", `/^whsec_/.test(document.querySelector('#new-secret-text').innerText)`)
	tab.UntilText("#webhooks", "/hub")
	tab.UntilText("#webhooks", "bulk.*")
	tab.Click("#webhooks th a")
	tab.UntilText("main", "Nothing was posted yet")
	tab.Click("#test")
	first := <-posts
	tab.UntilText("#webhooks", "webhook.test")
	tab.UntilText("#webhooks", "delivered")
	tab.Click("#webhooks form[action$='/replay'] button")
	if again := <-posts; again != first {
		t.Errorf("sent again as %s instead of %s", again, first)
	}
	tab.UntilText("#notice", "posted again")
	tab.Click("#disable")
	yes(tab)
	tab.Until("that it is disabled", `!!document.querySelector('#enable')`)
	tab.Click("#enable")
	tab.Until("that it is enabled", `!!document.querySelector('#disable')`)
	tab.Click("#delete")
	yes(tab)
	tab.UntilText("main", "no webhook yet")
}
