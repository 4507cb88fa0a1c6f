// Echo and chat with Boost.Beast, one thread, as its examples "websocket-server-async" and "websocket-chat-multi" do.
//
// It has one write under way per connection; in the chat the others wait in a queue of shared messages. Its echo reads
// the next message when the one before it is written, as the example does, so messages that arrived together are not
// answered with one write. Invariant: one that is QUEUE_MAX messages behind is closed.
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <memory>
#include <string>
#include <sys/resource.h>
#include <unordered_set>

namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using beast::error_code;

namespace {

constexpr std::size_t MESSAGE_MAX = 2 << 20; // 1 MiB must come back
constexpr std::size_t QUEUE_MAX = 1024;
constexpr int BACKLOG = 4096;

class session;
std::unordered_set<session*> members;

struct message {
    bool text;
    std::string bytes;
};

class session : public std::enable_shared_from_this<session> {
    websocket::stream<beast::tcp_stream> socket_;
    beast::flat_buffer buffer_;
    http::request<http::empty_body> request_;
    std::deque<std::shared_ptr<message const>> queue_;
    bool chats_ = false;

public:
    explicit session(tcp::socket&& socket) : socket_(std::move(socket)) {}

    ~session() { members.erase(this); }

    void run() {
        http::async_read(beast::get_lowest_layer(socket_), buffer_, request_,
                         beast::bind_front_handler(&session::on_request, shared_from_this()));
    }

private:
    void on_request(error_code error, std::size_t) {
        if (error || !websocket::is_upgrade(request_))
            return;
        chats_ = request_.target() == "/chat";
        socket_.set_option(websocket::stream_base::timeout::suggested(beast::role_type::server));
        socket_.read_message_max(MESSAGE_MAX);
        // A message goes out in one frame; what is written is not copied.
        socket_.auto_fragment(false);
        socket_.async_accept(request_, beast::bind_front_handler(&session::on_accept, shared_from_this()));
    }

    void on_accept(error_code error) {
        if (error)
            return;
        request_ = {};
        if (chats_)
            members.insert(this);
        read();
    }

    void read() {
        socket_.async_read(buffer_, beast::bind_front_handler(&session::on_read, shared_from_this()));
    }

    void on_read(error_code error, std::size_t) {
        if (error) {
            members.erase(this);
            return;
        }
        if (!chats_) {
            socket_.text(socket_.got_text());
            socket_.async_write(buffer_.data(),
                                beast::bind_front_handler(&session::on_echoed, shared_from_this()));
            return;
        }
        auto said = std::make_shared<message const>(
            message{socket_.got_text(), beast::buffers_to_string(buffer_.data())});
        buffer_.consume(buffer_.size());
        for (auto* member : members)
            member->tell(said);
        read();
    }

    void on_echoed(error_code error, std::size_t) {
        if (error)
            return;
        buffer_.consume(buffer_.size());
        read();
    }

    void tell(std::shared_ptr<message const> const& said) {
        if (queue_.size() == QUEUE_MAX) {
            beast::get_lowest_layer(socket_).cancel();
            return;
        }
        queue_.push_back(said);
        if (queue_.size() == 1)
            write();
    }

    void write() {
        socket_.text(queue_.front()->text);
        socket_.async_write(asio::buffer(queue_.front()->bytes),
                            beast::bind_front_handler(&session::on_written, shared_from_this()));
    }

    void on_written(error_code error, std::size_t) {
        if (error) {
            members.erase(this);
            return;
        }
        queue_.pop_front();
        if (!queue_.empty())
            write();
    }
};

class door {
    asio::io_context& loop_;
    tcp::acceptor acceptor_;

public:
    door(asio::io_context& loop, unsigned short port) : loop_(loop), acceptor_(loop) {
        acceptor_.open(tcp::v4());
        acceptor_.set_option(asio::socket_base::reuse_address(true));
        // On Linux an accepted socket takes it over from its listener.
        acceptor_.set_option(tcp::no_delay(true));
        acceptor_.bind({asio::ip::address_v4::loopback(), port});
        acceptor_.listen(BACKLOG);
    }

    void accept() {
        acceptor_.async_accept(loop_, [this](error_code error, tcp::socket socket) {
            if (!error)
                std::make_shared<session>(std::move(socket))->run();
            else if (error == asio::error::no_descriptors)
                throw beast::system_error(error);
            accept();
        });
    }
};

} // namespace

int main(int count, char** word) {
    char* rest = nullptr;
    long port = count == 3 && std::strcmp(word[1], "--port") == 0 ? std::strtol(word[2], &rest, 10) : -1;
    if (port < 0 || port > 65535 || *rest != 0) {
        std::cerr << "the words are --port NUMBER, from 0 to 65535\n";
        return 1;
    }
    rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    try {
        asio::io_context loop{1};
        door listener{loop, static_cast<unsigned short>(port)};
        listener.accept();
        loop.run();
    } catch (std::exception const& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
