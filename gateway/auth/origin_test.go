package auth

import "testing"

func TestCheckOrigin(t *testing.T) {
	for pattern, ok := range map[string]bool{
		"app.example.com": true, "https://app.example.com": true, "https://*.example.com": true, "localhost:3000": true, "*": true,
		"https://app.example.com:8443": true, "http://app.example.com:443": true, "capacitor://localhost": true, "file://": true,
		`http://\[::1\]:8080`: true, "https://app-[12].example.com": true, "App.Example.Com": true,

		"": false, "null": false, "[a": false, "https://": false, "https://app.example.com/": false, "app.example.com/chat": false,
		"https://user@app.example.com": false, "wss://app.example.com": false, "https://app.example.com:443": false,
		"http://app.example.com:80": false, "http://[::1]:8080": false, "[::1]:8080": false, " app.example.com": false,
		"https://bücher.example": false, "a.example b.example": false,
	} {
		if err := CheckOrigin(pattern); (err == nil) != ok {
			t.Errorf("CheckOrigin(%q) = %v, want ok = %t", pattern, err, ok)
		}
	}
}
