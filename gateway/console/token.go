package console

import (
	"encoding/json"
	"net/http"
)

// maxTokenRequest bounds the body of POST /dev/token: a user has 64 bytes.
const maxTokenRequest = 1 << 10

// tokens answers {"user": name} with {"token": text}. It refuses pages of other
// origins, and a body that such a page could send without asking first.
func tokens(token func(user string) (string, error)) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if protection.Check(r) != nil {
			refuse(w, http.StatusForbidden, "forbidden", "Origin: pages of other sites may not have tokens")
			return
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
