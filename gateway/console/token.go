package console

import (
	"encoding/json"
	"net/http"
)

// maxTokenRequest bounds the body of POST /dev/token: a user has 64 bytes.
const maxTokenRequest = 1 << 10

// forwarding lists the headers by which a proxy tells for whom it asks: what listens on
// loopback alone is open to everybody behind one.
var forwarding = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host"}

// tokens answers {"user": name} with {"token": text}. It refuses pages of other
// origins, a body that such a page could send without asking first, and what a proxy
// passes on.
func tokens(token func(user string) (string, error)) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if protection.Check(r) != nil {
			refuse(w, http.StatusForbidden, "forbidden", "Origin: pages of other sites may not have tokens")
			return
		}
		for _, name := range forwarding {
			if len(r.Header.Values(name)) > 0 {
				refuse(w, http.StatusForbidden, "forbidden", name+": tokens are not for those whom a proxy lets in")
				return
			}
		}
		if r.Header.Get("Content-Type") != "application/json" {
			refuse(w, http.StatusUnsupportedMediaType, "bad_request", "Content-Type: want application/json")
			return
		}
		var asked struct {
			User string `json:"user"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTokenRequest)).Decode(&asked); err != nil {
			refuse(w, http.StatusBadRequest, "bad_request", `body: want {"user": name}: `+err.Error())
			return
		}
		made, err := token(asked.User)
		if err != nil {
			refuse(w, http.StatusBadRequest, "bad_request", "user: "+err.Error())
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"token": made})
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]string{"code": code, "message": message})
}
